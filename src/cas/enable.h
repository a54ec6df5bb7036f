/*
 * enable.h
 *		What enable.c finds out and prepare.c does.
 */
#ifndef PG_CAS_ENABLE_H
#define PG_CAS_ENABLE_H

#include "cas.h"

/* A table to be enabled: what it is to become, and what that takes. */
typedef struct CasEnabling
{
	FunctionCallInfo fcinfo;
	Oid			relid;
	char	   *name;			/* qualified, as SQL reads it */
	CasSettings settings;		/* as they are to be */
	CasTriggers triggers;		/* as they are; a copy */
	bool		is_new;			/* there is no guard yet */
	bool		add_version;	/* the column is missing */
	bool		check_version;	/* it is another than before */
	Oid			owner;			/* the table's */
	Oid			sequence;		/* that there is, or InvalidOid */
	bool		sequence_right;	/* it is the owner's, and ahead */
	bool		drop_sequence;
	bool		stamp;			/* documents lack the version */
	LOCKMODE	lock;			/* NoLock: nothing is to be done */
} CasEnabling;

/* prepare.c */
extern void cas_prepare(CasEnabling *enabling);
extern void cas_remove_triggers(const CasEnabling *enabling);
extern void cas_name_sequence(CasSettings *settings, Oid sequence);
extern bool cas_trigger_is_named(const Trigger *trigger, const char *name);
pg_noreturn extern void cas_raise_no_relation(Oid relid);

#endif							/* PG_CAS_ENABLE_H */
