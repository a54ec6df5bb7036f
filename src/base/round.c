/*
 * round.c
 *		Memory of calls that try again, perhaps for hours.
 */
#include "base/base.h"

#include "utils/memutils.h"

/*
 * Begin a try, as the last one has failed.  What is allocated until round_end()
 * lasts until the next try begins, and if that is the last one, as long as the
 * memory context of the first one.  rounds is all zeros before that: most calls
 * succeed at once, and need no other context.
 */
void
round_begin(Rounds *rounds)
{
	if (rounds->caller == NULL)
	{
		rounds->caller = CurrentMemoryContext;
		return;
	}
	if (rounds->cxt == NULL)
		rounds->cxt = AllocSetContextCreate(rounds->caller, "pg_cas round",
											ALLOCSET_DEFAULT_SIZES);
	else
		MemoryContextReset(rounds->cxt);
	MemoryContextSwitchTo(rounds->cxt);
}

/* End a try. */
void
round_end(Rounds *rounds)
{
	MemoryContextSwitchTo(rounds->caller);
}
