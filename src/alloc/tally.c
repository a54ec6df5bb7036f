/*
 * tally.c
 *		What the rows of a pool count as, and how many there are in a pool of one
 *		size, or how much a counted pool has given out.
 *
 * To count the rows of alloc_slot, the index says on which pages the pool has rows,
 * and then these are read in their order, each once.  A scan of the index would read
 * the pages of units that were taken at random again for each row, which takes four
 * times as long.  A statement takes as long to plan as to count 1,000 rows, and would
 * take predicate locks under SERIALIZABLE.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "alloc/alloc.h"
#include "alloc/report.h"
#include "alloc/share.h"
#include "alloc/store.h"

/* Is the row's unit held by a key? */
bool
is_in_use(const Look *look, const SlotRow *row)
{
	return row->held && !has_run_out(row, look->now);
}

/* Is the row's unit cooling down? */
bool
is_cooling(const Look *look, const SlotRow *row)
{
	return !row->held && !has_run_out(row, look->now);
}

/*
 * Return which of the table's first nblocks pages have rows of the pool, among them
 * all rows that the snapshot shows: a bit for each page.
 */
static uint8 *
pages_of_pool(Look *look, BlockNumber nblocks)
{
	uint8	   *pages = palloc_extended(nblocks / 8 + 1,
										MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	RowScan		scan;
	ItemPointer tid;

	ScanKeyInit(&scan.keys[0], 1, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(look->pool->id));
	rows_begin(&scan, look->store.slot, store_index(&look->store, BY_SLOT),
			   look->snapshot, ForwardScanDirection, 1, false);
	while ((tid = index_getnext_tid(scan.desc, ForwardScanDirection)) != NULL)
	{
		BlockNumber block = ItemPointerGetBlockNumber(tid);

		CHECK_FOR_INTERRUPTS();
		/* what came after the snapshot may be on a later page */
		if (block < nblocks)
			pages[block / 8] |= 1 << (block % 8);
	}
	rows_end(&scan);
	return pages;
}

/* Count the pool's rows on a page. */
static void
count_page(Look *look, BlockNumber block, uint64 *held, uint64 *cooling)
{
	Relation	rel = look->store.slot;
	TupleDesc	desc = RelationGetDescr(rel);
	Buffer		buffer = ReadBuffer(rel, block);
	Page		page = BufferGetPage(buffer);

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	for (OffsetNumber offset = FirstOffsetNumber;
		 offset <= PageGetMaxOffsetNumber(page); offset++)
	{
		ItemId		item = PageGetItemId(page, offset);
		HeapTupleData row;
		SlotRow		term = {0};
		bool		isnull;

		if (!ItemIdIsNormal(item))
			continue;
		row.t_data = (HeapTupleHeader) PageGetItem(page, item);
		row.t_len = ItemIdGetLength(item);
		row.t_tableOid = RelationGetRelid(rel);
		ItemPointerSet(&row.t_self, block, offset);
		if (DatumGetInt32(heap_getattr(&row, SLOT_POOL, desc, &isnull)) !=
			look->pool->id ||
			!HeapTupleSatisfiesVisibility(&row, look->snapshot, buffer))
			continue;
		term.held = !heap_attisnull(&row, SLOT_KEY, desc);
		term.expires = !heap_attisnull(&row, SLOT_EXPIRES_AT, desc);
		if (term.expires)
			term.expires_at =
				DatumGetTimestampTz(heap_getattr(&row, SLOT_EXPIRES_AT, desc,
												 &isnull));
		*held += is_in_use(look, &term);
		*cooling += is_cooling(look, &term);
	}
	UnlockReleaseBuffer(buffer);
}

/* Count the units of a pool of one size that are held, and that cool. */
void
tally(Look *look, uint64 *held, uint64 *cooling)
{
	BlockNumber nblocks = RelationGetNumberOfBlocks(look->store.slot);
	uint8	   *pages = pages_of_pool(look, nblocks);

	*held = *cooling = 0;
	for (BlockNumber i = 0; i <= nblocks / 8; i++)
	{
		/* most bytes are 0 if the table has many rows of other pools */
		for (int bit = 0; pages[i] >> bit != 0; bit++)
		{
			if ((pages[i] >> bit & 1) == 0)
				continue;
			CHECK_FOR_INTERRUPTS();
			count_page(look, i * 8 + bit, held, cooling);
		}
	}
	pfree(pages);
}

/* Count what is held of a counted pool, and what cools. */
void
tally_shares(Look *look, uint64 *held, uint64 *cooling)
{
	RowScan		scan;
	ShareRow	row;

	*held = *cooling = 0;
	share_scan_of_pool(&scan, &look->store, look->pool->id, look->snapshot);
	while (share_scan_next(&scan, &row))
	{
		if (row.held && (!row.expires || row.expires_at > look->now))
			*held += row.n;
		else if (!row.held && row.expires_at > look->now)
			*cooling += row.n;
	}
	rows_end(&scan);
}
