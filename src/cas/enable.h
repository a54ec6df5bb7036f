/*
 * enable.h
 *		Declarations shared by enable.c, which finds out what has to be done,
 *		and prepare.c, which does it.
 */
#ifndef PG_CAS_ENABLE_H
#define PG_CAS_ENABLE_H

#include "cas.h"

/* A table to be enabled, and what has to be done. */
typedef struct CasEnabling
{
	FunctionCallInfo fcinfo;
	Oid			relid;
	char	   *name;			/* qualified and quoted */
	CasSettings settings;		/* the new settings */
	CasTriggers triggers;		/* the present triggers, copied */
	bool		is_new;			/* there is no guard yet */
	bool		add_version;	/* the version column must be added */
	bool		check_version;	/* its values must be checked */
	Oid			owner;			/* of the table */
	Oid			sequence;		/* the existing one, or InvalidOid */
	bool		sequence_right;	/* its owner and value are right */
	bool		drop_sequence;
	bool		stamp;			/* write the version into documents */
	LOCKMODE	lock;			/* NoLock if there is nothing to do */
} CasEnabling;

/* prepare.c */
extern void cas_prepare(CasEnabling *enabling);
extern void cas_remove_triggers(const CasEnabling *enabling);
extern void cas_name_sequence(CasSettings *settings, Oid sequence);
extern bool cas_trigger_is_named(const Trigger *trigger, const char *name);

#endif							/* PG_CAS_ENABLE_H */
