/*
 * begun.c
 *		The requests that this transaction has begun and not yet done.
 *
 * A request's row must not be committed without its result.  Therefore the
 * requests that were begun and are not done are recorded here, and the
 * pre-commit callback (claim.c) raises an error if there are any.
 *
 * The records follow subtransactions: a rollback to a savepoint removes the
 * requests begun after it, and makes those done after it unfinished again.
 * Everything is allocated in TopTransactionContext.
 */
#include "request/request.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/*
 * The requests begun or done in one subtransaction.  A frame is created when
 * it is first needed, so its outer frame may be several nesting levels up.
 */
typedef struct Frame
{
	struct Frame *outer;
	int			level;			/* of nesting; 1 is the transaction itself */
	dlist_head	requests;		/* of BegunRequest */
} Frame;

/* An entry of the hash table, whose key is the name. */
struct BegunRequest
{
	RequestName name;			/* must be first */
	Oid			owner;			/* of the scope */
	Frame	   *begun;			/* where it was begun */
	Frame	   *done;			/* an inner frame, or NULL if not yet done */
	dlist_node	node;			/* in done's list, else in begun's */
};

static HTAB *begun_requests = NULL;
static Frame *frames = NULL;	/* the innermost */

/* Begin an error's DETAIL with the fields that name the request. */
void
request_detail_begin(StringInfo detail, const RequestName *name)
{
	detail_begin(detail);
	detail_text(detail, "scope", text_to_cstring(name->scope));
	detail_text(detail, "key", text_to_cstring(name->key));
}

/* For ereport(): a DETAIL that only names the request. */
int
request_errdetail(const RequestName *name)
{
	StringInfoData detail;

	request_detail_begin(&detail, name);
	return errdetail_internal("%s", detail_end(&detail));
}

/*
 * Hash and match functions of the table: names are equal if both texts are.
 */
static uint32
name_hash(const void *key, Size size)
{
	const RequestName *name = key;

	return hash_combine(hash_bytes((unsigned char *) VARDATA_ANY(name->scope),
								   VARSIZE_ANY_EXHDR(name->scope)),
						hash_bytes((unsigned char *) VARDATA_ANY(name->key),
								   VARSIZE_ANY_EXHDR(name->key)));
}

static int
name_differs(const void *key1, const void *key2, Size size)
{
	const RequestName *a = key1;
	const RequestName *b = key2;

	return !(same_text(a->key, b->key) && same_text(a->scope, b->scope));
}

static HTAB *
make_table(void)
{
	HASHCTL		control = {
		.keysize = sizeof(RequestName),
		.entrysize = sizeof(BegunRequest),
		.hash = name_hash,
		.match = name_differs,
		.hcxt = TopTransactionContext
	};

	return hash_create("pg_cas begun requests", 16, &control,
					   HASH_ELEM | HASH_FUNCTION | HASH_COMPARE |
					   HASH_CONTEXT);
}

/* Return the frame of the current subtransaction, creating it if needed. */
static Frame *
current_frame(void)
{
	int			level = GetCurrentTransactionNestLevel();

	if (frames == NULL || frames->level < level)
	{
		Frame	   *frame = MemoryContextAlloc(TopTransactionContext,
											   sizeof(Frame));

		frame->outer = frames;
		frame->level = level;
		dlist_init(&frame->requests);
		frames = frame;
	}
	return frames;
}

/* Find a request that was begun and is not done; NULL if there is none. */
BegunRequest *
begun_find(const RequestName *name)
{
	BegunRequest *request;

	if (begun_requests == NULL)
		return NULL;
	request = hash_search(begun_requests, name, HASH_FIND, NULL);
	return request != NULL && request->done == NULL ? request : NULL;
}

Oid
begun_owner(const BegunRequest *request)
{
	return request->owner;
}

/* Copy a text, which must not be toasted, into TopTransactionContext. */
static text *
keep_text(text *value)
{
	Size		size = VARSIZE_ANY(value);
	text	   *copy = MemoryContextAlloc(TopTransactionContext, size);

	memcpy(copy, value, size);
	return copy;
}

/* Record that the request was begun; owner is the owner of its scope. */
void
begun_remember(const RequestName *name, Oid owner)
{
	Frame	   *frame = current_frame();
	RequestName copy;
	BegunRequest *request;
	bool		found;

	copy.scope = keep_text(name->scope);
	copy.key = keep_text(name->key);
	if (begun_requests == NULL)
		begun_requests = make_table();
	request = hash_search(begun_requests, &copy, HASH_ENTER, &found);

	/*
	 * The request can only be begun again if somebody deleted its row by hand.
	 * Then it is begun anew in the current frame.
	 */
	if (found)
		dlist_delete(&request->node);
	request->owner = owner;
	request->begun = frame;
	request->done = NULL;
	dlist_push_tail(&frame->requests, &request->node);
}

/* Remove a request that is in no frame's list any more. */
static void
drop(BegunRequest *request)
{
	RequestName name = request->name;

	/* The entry must not be used after its removal, so copy the name. */
	hash_search(begun_requests, &name, HASH_REMOVE, NULL);
	pfree(name.scope);
	pfree(name.key);
}

/*
 * Record that the request is done.
 */
void
begun_done(BegunRequest *request)
{
	Frame	   *frame = current_frame();

	/*
	 * If it was begun in the same subtransaction, nothing can undo the end
	 * without the beginning, so the request can be forgotten.
	 */
	dlist_delete(&request->node);
	if (request->begun == frame)
		drop(request);
	else
	{
		request->done = frame;
		dlist_push_tail(&frame->requests, &request->node);
	}
}

/* At the commit of a subtransaction: move its requests to the outer frame. */
static void
merge_frame(Frame *frame)
{
	Frame	   *outer = frame->outer;
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &frame->requests)
	{
		BegunRequest *request = dlist_container(BegunRequest, node, iter.cur);

		dlist_delete(iter.cur);
		if (request->begun == frame)
			request->begun = outer;
		if (request->done == frame)
			request->done = outer;

		/* Begun and done in the same frame, as in begun_done(). */
		if (request->begun == request->done)
			drop(request);
		else
			dlist_push_tail(&outer->requests, iter.cur);
	}
}

/* At the rollback of a subtransaction: undo what was recorded in its frame. */
static void
undo_frame(Frame *frame)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &frame->requests)
	{
		BegunRequest *request = dlist_container(BegunRequest, node, iter.cur);

		/*
		 * If the request was begun further out, only its end is undone: it is
		 * unfinished again, in the frame where it was begun.
		 */
		dlist_delete(iter.cur);
		if (request->begun == frame)
			drop(request);
		else
		{
			request->done = NULL;
			dlist_push_tail(&request->begun->requests, iter.cur);
		}
	}
}

/*
 * Adjust the records at the end of the current subtransaction.
 */
void
begun_end_subtransaction(bool committed)
{
	int			level = GetCurrentTransactionNestLevel();
	Frame	   *frame = frames;

	if (frame == NULL || frame->level < level)
		return;
	if (committed && (frame->outer == NULL ||
					  frame->outer->level < level - 1))
	{
		/* The parent has no frame of its own, so give it this one. */
		frame->level--;
		return;
	}
	if (committed)
		merge_frame(frame);
	else
		undo_frame(frame);
	frames = frame->outer;
	pfree(frame);
}

/*
 * Raise 25000 if a request was begun and is not done.  This is called before
 * commit, when all subtransactions have ended: the one frame left has no
 * requests but unfinished ones.
 */
void
begun_check_done(void)
{
	if (frames != NULL && !dlist_is_empty(&frames->requests))
	{
		BegunRequest *request = dlist_head_element(BegunRequest, node,
												   &frames->requests);

		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("a request was begun and is not done"),
				 request_errdetail(&request->name),
				 errhint("Call request_done() before COMMIT, or roll back.")));
	}
}

/* Reset at the end of the transaction, which frees the memory. */
void
begun_forget(void)
{
	begun_requests = NULL;
	frames = NULL;
}
