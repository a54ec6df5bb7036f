/*
 * subtransaction.c
 *		Call a function in a subtransaction.
 */
#include "base/base.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/*
 * Call a function with that argument.  What it does lasts if it returns true.
 * If it returns false or raises an error, all is undone, and its locks are
 * released.  Returns what the function has returned.
 *
 * An error is raised again if error is NULL, after the subtransaction has
 * ended: a caller that catches it ends its own subtransaction, not ours.
 * Otherwise it is stored in *error, in the current memory context, or NULL if
 * there was none.
 *
 * The function begins in the current memory context, but the resource owner
 * is the subtransaction's.  So what it opens must be closed before it returns,
 * and must not have been opened before, unless the function uses the caller's
 * resource owner instead.
 */
bool
in_subtransaction(bool (*function) (void *arg), void *arg, ErrorData **error)
{
	MemoryContext cxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile raised = NULL;
	volatile bool done = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(cxt);
	PG_TRY();
	{
		done = function(arg);
		if (done)
			ReleaseCurrentSubTransaction();
		else
			RollbackAndReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(cxt);
		raised = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		done = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(cxt);
	CurrentResourceOwner = owner;
	if (error != NULL)
		*error = raised;
	else if (raised != NULL)
		ReThrowError(raised);
	return done;
}
