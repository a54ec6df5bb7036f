/*
 * rowscan.h
 *		Declarations for reading a table of ours by an index.
 */
#ifndef PG_CAS_ALLOC_ROWSCAN_H
#define PG_CAS_ALLOC_ROWSCAN_H

#include "access/relscan.h"
#include "utils/snapshot.h"

/* A scan of an index, in one direction; see scan.c. */
typedef struct RowScan
{
	Relation	rel;
	IndexScanDesc desc;
	ScanKeyData keys[3];
	int			nkeys;
	int			nowned;			/* so many keys, the last ones, are freed at the
								 * end of the scan */
	SnapshotData dirty;
	Snapshot	snapshot;
	Snapshot	picked;			/* return only versions that it sees, if set */
	TupleTableSlot *slot;		/* the row that was returned */
	ScanDirection direction;
	bool		marks;			/* may mark index entries as dead */
	int			passed;			/* number of entries without a row */
	bool		bounded;		/* give up if they are many */
	bool		gave_up;
} RowScan;

extern void rows_begin(RowScan *scan, Relation rel, Relation index,
					   Snapshot snapshot, ScanDirection direction, int nkeys,
					   bool marks);
extern bool rows_next(RowScan *scan);
extern bool rows_seen_by(RowScan *scan, Snapshot snapshot);
extern Snapshot rows_dirty(RowScan *scan);
extern void rows_end(RowScan *scan);
extern bool row_writers(TupleTableSlot *slot, Snapshot dirty,
						TransactionId *inserter, TransactionId *deleter);

#endif							/* PG_CAS_ALLOC_ROWSCAN_H */
