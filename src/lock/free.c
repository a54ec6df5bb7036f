/*
 * free.c
 *		Taking several names at once, if all of them are free.
 *
 * Mostly nobody else wants the names that a call wants.  Then their rows need
 * not be locked before they are written, which is half of the WAL; resource.c
 * is for all other cases.  Writing a row takes its lock.
 *
 * But a fence may be drawn only after the lock has been taken.  If it were
 * drawn first, another call could take the name meanwhile, draw a larger
 * fence, return it, and be rolled back, so that the name's fences would fall.
 * So until the rows have been written, we hold the queue locks of all names,
 * which keep a free name free: whoever wants it has to stand in line.  (An
 * upgrader does not, but its name is not free.)
 *
 * We wait for none of these locks, so the order of the names does not matter
 * here.
 */
#include "lock.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/xact.h"
#include "storage/bufmgr.h"
#include "utils/snapmgr.h"

/* A call with more names than this would need too much of the lock table. */
#define MAX_FREE 16

/*
 * Examine the place where the name's row was last seen.  Returns TM_Ok if it
 * is the newest version and nobody has locked it, not even we, and if our
 * transaction's snapshot, if there is one, sees it.  Then resource->tid is
 * set, and resource->fence to the former holder's.
 */
static TM_Result
examine(NameTable *names, Resource *resource, uint64 hash)
{
	TupleDesc	desc = RelationGetDescr(names->rel);
	HeapTupleData row;
	Buffer		buffer;
	TM_Result	result;
	TransactionId xmin;
	bool		isnull;

	if (!place_visit(names, resource->name, hash, &row, &buffer))
		return TM_Deleted;
	result = HeapTupleSatisfiesUpdate(&row, GetCurrentCommandId(false),
									  buffer);
	xmin = HeapTupleHeaderGetXmin(row.t_data);
	if (result == TM_Ok &&
		(TransactionIdIsCurrentTransactionId(xmin) ||
		 (IsolationUsesXactSnapshot() &&
		  !HeapTupleSatisfiesVisibility(&row, GetActiveSnapshot(), buffer))))
		result = TM_BeingModified;
	resource->tid = row.t_self;
	resource->fence = DatumGetInt64(heap_getattr(&row, Anum_fence, desc,
												 &isnull));
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	if (result == TM_Ok)
		(void) place_make_room(names, buffer);
	ReleaseBuffer(buffer);
	return result;
}

/*
 * Is the name free?  The caller holds its queue lock, so it will remain free.
 */
static bool
is_free(NameTable *names, Resource *resource, uint64 hash)
{
	TM_Result	result = examine(names, resource, hash);

	/* Others have written the row since we saw it, or we have not seen it. */
	if (result != TM_Ok && result != TM_BeingModified &&
		names_find(names, resource->name))
		result = examine(names, resource, hash);
	return result == TM_Ok;
}

/*
 * Draw the fences, and write them into the rows, which are free.  Returns how
 * many have been written.
 */
static int
write_fences(NameTable *names, Resource *resources, int n,
			 TimestampTz since, Datum request, bool limited)
{
	const Patience patience = {WAIT_NEVER};

	for (int i = 0; i < n; i++)
	{
		/*
		 * Only a statement on the table itself, by the owner of the extension,
		 * can still lock or change a row.  A call whose wait is limited must not
		 * wait for that.
		 */
		if (!fence_next(names, resources[i].fence, &patience,
						&resources[i].fence) ||
			!names_write_fence(names, &resources[i], since, request,
							   limited))
			return i;
	}
	return n;
}

/*
 * Take all resources until the end of the transaction, exclusively, if they
 * are free.  Returns false if they have to be taken one by one.
 */
bool
free_take(NameTable *names, Resource *resources, int n, TimestampTz since,
		  Datum request, const Patience *patience)
{
	LOCKTAG		queues[MAX_FREE];
	int			queued = 0;
	int			written = 0;
	bool		free = true;

	if (n > MAX_FREE)
		return false;
	for (int i = 0; i < n; i++)
		if (resources[i].mode != HOLD_EXCLUSIVE)
			return false;

	while (queued < n && free)
	{
		Resource   *resource = &resources[queued];
		uint64		hash = names_hash(resource->name);

		names_locktag(&queues[queued], hash, LOCK_QUEUE);
		if (LockAcquire(&queues[queued], ExclusiveLock, false, true) ==
			LOCKACQUIRE_NOT_AVAIL)
			break;
		queued++;
		free = is_free(names, resource, hash);
	}
	if (queued == n && free)
		written = write_fences(names, resources, n, since, request,
							   patience->waiting != WAIT_ALWAYS);
	while (queued > 0)
		LockRelease(&queues[--queued], ExclusiveLock, false);
	if (written == n)
		return true;

	/* Let resource_take() find those that were taken. */
	if (written > 0)
	{
		CommandCounterIncrement();
		names_refresh(names);
	}
	fence_forget(names);
	return false;
}
