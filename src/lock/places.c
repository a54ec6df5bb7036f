/*
 * places.c
 *		Where this backend last saw the rows of names.
 *
 * What is remembered may be outdated.  It is only tried first, and checked.
 * Without it, a call with 8 names takes 51 % more instructions.
 */
#include "lock.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"

typedef struct Place
{
	uint64		hash;			/* of the name */
	Oid			relid;			/* 0 if the entry is not used */
	Buffer		buffer;			/* that had the page, or InvalidBuffer */
	ItemPointerData tid;
} Place;

/*
 * A name's hash determines the row of this table, in which the place last
 * remembered comes first.  With one column, a fifth of 800 names would be
 * forgotten.
 */
#define NUM_ROWS	1024
#define NUM_COLUMNS 4

static Place places[NUM_ROWS][NUM_COLUMNS];

/* Find the name's place.  Returns NULL if it is not remembered. */
static Place *
find_place(NameTable *names, uint64 hash)
{
	Place	   *row = places[hash % NUM_ROWS];

	for (int i = 0; i < NUM_COLUMNS; i++)
		if (row[i].hash == hash &&
			row[i].relid == RelationGetRelid(names->rel))
			return &row[i];
	return NULL;
}

/*
 * Remember where the row of the name with this hash is.  buffer has the page,
 * or is InvalidBuffer if the caller does not know.
 */
void
place_remember(NameTable *names, uint64 hash, ItemPointer tid, Buffer buffer)
{
	Place	   *row = places[hash % NUM_ROWS];
	Place	   *place = find_place(names, hash);

	if (place == NULL)
	{
		memmove(&row[1], &row[0], (NUM_COLUMNS - 1) * sizeof(Place));
		place = &row[0];
		place->hash = hash;
		place->relid = RelationGetRelid(names->rel);
		place->buffer = buffer;
	}
	else if (BufferIsValid(buffer) ||
			 ItemPointerGetBlockNumber(tid) !=
			 ItemPointerGetBlockNumber(&place->tid))
		place->buffer = buffer;
	place->tid = *tid;
}

/*
 * Look at the place where the row of the name was last seen.  If there is a
 * row with that name, which can be any version, *row is set to it, and
 * *buffer to its page, which is pinned and locked (share).  Returns false if
 * there is none.
 */
bool
place_visit(NameTable *names, Datum name, uint64 hash, HeapTuple row,
			Buffer *buffer)
{
	Place	   *place = find_place(names, hash);
	BlockNumber block;
	OffsetNumber offset;
	Page		page;
	ItemId		item;
	bool		isnull;

	if (place == NULL)
		return false;

	/*
	 * If the buffer still has the page, we need neither look it up nor ask
	 * whether the table is still that long, which is a system call.
	 */
	block = ItemPointerGetBlockNumber(&place->tid);
	if (!BufferIsValid(place->buffer) ||
		!ReadRecentBuffer(names->rel->rd_locator, MAIN_FORKNUM, block,
						  place->buffer))
	{
		if (block >= RelationGetNumberOfBlocks(names->rel))
			return false;
		place->buffer = ReadBuffer(names->rel, block);
	}
	*buffer = place->buffer;

	LockBuffer(*buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(*buffer);
	offset = ItemPointerGetOffsetNumber(&place->tid);
	if (offset <= PageGetMaxOffsetNumber(page))
	{
		item = PageGetItemId(page, offset);
		if (ItemIdIsNormal(item))
		{
			row->t_data = (HeapTupleHeader) PageGetItem(page, item);
			row->t_len = ItemIdGetLength(item);
			row->t_self = place->tid;
			row->t_tableOid = place->relid;
			if (names_compare(heap_getattr(row, Anum_name,
										   RelationGetDescr(names->rel),
										   &isnull), name) == 0)
				return true;
		}
	}
	UnlockReleaseBuffer(*buffer);
	return false;
}

/*
 * Make sure that the page has room for new versions of its rows.  It is pinned
 * and not locked.  Returns true if rows may have been moved on the page.
 *
 * The table has a fillfactor of 50.  From the first update on, the executor
 * would try to prune the page at every visit, which costs several times as
 * much as the update itself.  We let old versions accumulate, and remove many
 * at a time.
 */
bool
place_make_room(NameTable *names, Buffer buffer)
{
	Page		page = BufferGetPage(buffer);

	if (!PageIsFull(page) && PageGetHeapFreeSpace(page) >= BLCKSZ / 8)
		return false;
	prune_page(names->rel, buffer);
	return true;
}
