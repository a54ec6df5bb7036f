/*
 * store.h
 *		Declarations for the files that read and write our tables.
 */
#ifndef PG_CAS_ALLOC_STORE_H
#define PG_CAS_ALLOC_STORE_H

#include "alloc/alloc.h"

/* alloc_slot's columns */
enum
{
	SLOT_POOL = 1,
	SLOT_FIRST,
	SLOT_SIZE,
	SLOT_KEY_ROW,
	SLOT_KEY,
	SLOT_GENERATION,
	SLOT_ALLOCATED_AT,
	SLOT_EXPIRES_AT,
	SLOT_MOVED_FROM,
	SLOT_MOVED_GENERATION,
	SLOT_RUN_SIZE,
	SLOT_RUN_PLACE,
	SLOT_NOTE,
	SLOT_QUEUE_PLACE,
	SLOT_SLOTS
};

/* A row that is inserted together with others; see insert.c. */
typedef struct NewRow
{
	const Pool *pool;
	SlotRow		unit;
	TupleTableSlot *image;		/* NULL until it is needed */
	bool		key_used;		/* the key has a row already */
} NewRow;

extern Relation store_index(Store *store, SlotIndex which);

extern void writer_open(Writer *writer, Store *store, Relation rel,
						const AllocRelation *indexes, int nindexes);
extern void writer_close(Writer *writer);
extern bool writer_index(Writer *writer, TU_UpdateIndexes update,
						 bool may_conflict);
extern Writer *store_writer(Store *store);
extern void store_form(const Pool *pool, const SlotRow *row,
					   TupleTableSlot *slot);
extern bool store_index_row(Writer *writer, TupleTableSlot *row,
							Relation index, IndexUniqueCheck check,
							bool unchanged);
extern bool store_meet_lockers(Store *store, TupleTableSlot *slot);
extern TM_Result store_change(Store *store, Relation rel,
							  const ItemPointerData *tid,
							  TupleTableSlot *slot, bool undisturbed,
							  TU_UpdateIndexes *update_indexes);

/* insert.c */
extern bool insert_rows(Store *store, NewRow *rows, int n);
extern void insert_end(NewRow *rows, int n);

#endif							/* PG_CAS_ALLOC_STORE_H */
