/*
 * read.h
 *		Declarations for reading pools.
 */
#ifndef PG_CAS_ALLOC_READ_H
#define PG_CAS_ALLOC_READ_H

#include "alloc/alloc.h"

/* alloc_pool's columns */
enum
{
	POOL_ID = 1,
	POOL_NAME,
	POOL_KIND,
	POOL_STRATEGY,
	POOL_COOLDOWN,
	POOL_PORT_CHUNK,
	POOL_FAMILY,
	POOL_OWNER,
	POOL_OWNER_NAME,
	POOL_EPOCH,
	POOL_PARENT,
	POOL_CAPACITY,
	POOL_LOWERED,
	POOL_EXCLUDE_PORTS
};

/* A scan of one of our own tables for the rows that have one index key. */
typedef struct PoolScan
{
	OwnTable	table;
	OwnScan		rows;
} PoolScan;

extern void pool_scan_begin(PoolScan *scan, Oid nsp, AllocRelation rel,
							AllocRelation index, Snapshot snapshot,
							ScanKey key);
extern bool pool_scan_next(PoolScan *scan);
extern void pool_scan_end(PoolScan *scan);
extern Oid *read_grantees(Oid nsp, int32 id, Snapshot snapshot,
						  int *ngrantees);
extern Pool *read_epoch(Oid nsp, Oid relid, TupleTableSlot *row,
						Snapshot snapshot);
extern void read_settings(Pool *pool, TupleTableSlot *row, Oid *grantees,
						  int ngrantees);

#endif							/* PG_CAS_ALLOC_READ_H */
