/*
 * scan.h
 *		Declarations for scans of alloc_slot.  Only alloc.h includes this.
 */
#ifndef PG_CAS_ALLOC_SCAN_H
#define PG_CAS_ALLOC_SCAN_H

#include "alloc/rowscan.h"

/* A scan of alloc_slot; see scan.c. */
typedef struct SlotScan
{
	RowScan		base;
} SlotScan;

/* The stages of a BlockScan, in the order in which they are entered. */
typedef enum BlockStage
{
	BLOCK_NEAR,
	BLOCK_FAR,
	BLOCK_INSIDE
} BlockStage;

/* A scan of the rows that overlap an extent; see block.c. */
typedef struct BlockScan
{
	Store	   *store;
	const Pool *pool;
	Extent		slots;
	Snapshot	snapshot;
	BlockStage	stage;
	SlotScan	rows;
	int			passed;			/* near: number of rows before the extent */
	bool		proven;			/* near: none further back overlaps it */
	bool		scanning;		/* far: rows is open */
	u128		at;				/* far: the slot that is looked at, */
	int			order;			/* where a block of this order can begin */
} BlockScan;

/* scan.c */
extern void scan_by_slot(SlotScan *scan, Store *store, int32 pool,
						 Extent slots, ScanDirection direction,
						 Snapshot snapshot);
extern void scan_by_key(SlotScan *scan, Store *store, int32 pool,
						const pg_uuid_t *key, Snapshot snapshot);
extern void scan_queue_by_slot(SlotScan *scan, Store *store, int32 pool,
							   Extent slots);
extern void scan_queue_by_time(SlotScan *scan, Store *store, int32 pool,
							   TimestampTz from, TimestampTz until);
extern void scan_by_expiry(SlotScan *scan, Store *store, int32 pool,
						   TimestampTz until);
extern void scan_to_expire(SlotScan *scan, Store *store, int32 pool,
						   TimestampTz after);
extern void scan_again_rows(SlotScan *scan, Store *store, int32 pool);
extern void scan_again_by_key(SlotScan *scan, int32 pool,
							  const pg_uuid_t *key);
extern bool slot_scan_next(SlotScan *scan, SlotRow *row);
extern void slot_scan_end(SlotScan *scan);
extern void row_keep(SlotRow *row);
extern bool row_seen_by(SlotScan *scan, Snapshot snapshot);
extern bool store_look(Store *store, const Pool *pool, ItemPointer tid,
					   SlotRow *row);

#endif							/* PG_CAS_ALLOC_SCAN_H */
