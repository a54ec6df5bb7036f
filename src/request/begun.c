/*
 * begun.c
 *		The requests that this transaction has begun and not done.
 *
 * A row without its result must not be committed, and cannot be: what was
 * begun and not done is remembered here, and the callback before commit
 * refuses (claim.c).  The memory follows subtransactions: rolling back one
 * undoes what was begun in it, and undoes the end of what was ended in it.
 *
 * All of it lies in TopTransactionContext and is gone with the transaction.
 */
#include "request/request.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/*
 * What happened in a subtransaction.  Frames are made when something happens,
 * so the one outside of another may be several levels further out.
 */
typedef struct Frame
{
	struct Frame *outer;
	int			level;			/* of nesting; 1 is the transaction itself */
	dlist_head	requests;		/* of BegunRequest */
} Frame;

/* The name comes first: it is the key of the hash table. */
struct BegunRequest
{
	RequestName name;
	Oid			owner;			/* of the scope */
	Frame	   *begun;
	Frame	   *done;			/* deeper than begun; NULL: not yet */
	dlist_node	node;			/* in the deeper one of the two */
};

static HTAB *begun_requests = NULL;
static Frame *frames = NULL;	/* the innermost */

/* Begin an error's DETAIL that names the request. */
void
request_detail_begin(StringInfo detail, const RequestName *name)
{
	detail_begin(detail);
	detail_text(detail, "scope", text_to_cstring(name->scope));
	detail_text(detail, "key", text_to_cstring(name->key));
}

/* The whole of it. */
int
request_errdetail(const RequestName *name)
{
	StringInfoData detail;

	request_detail_begin(&detail, name);
	return errdetail_internal("%s", detail_end(&detail));
}

/*
 * The hash table compares names by what they say.  A transaction may begin
 * very many requests.
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

static bool
same_text(const text *a, const text *b)
{
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
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

/* The frame of the present subtransaction. */
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

/* The request of this name that was begun and is not done, or NULL. */
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

/* Copy a text, without a toaster's compression, into the transaction. */
static text *
keep_text(text *value)
{
	Size		size = VARSIZE_ANY(value);
	text	   *copy = MemoryContextAlloc(TopTransactionContext, size);

	memcpy(copy, value, size);
	return copy;
}

/* Remember that the request was begun; the scope is the role's. */
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
	if (found)
		dlist_delete(&request->node);	/* its row was deleted by hand */
	request->owner = owner;
	request->begun = frame;
	request->done = NULL;
	dlist_push_tail(&frame->requests, &request->node);
}

/* Forget a request, which is in no frame any more. */
static void
drop(BegunRequest *request)
{
	RequestName name = request->name;

	hash_search(begun_requests, &name, HASH_REMOVE, NULL);
	pfree(name.scope);
	pfree(name.key);
}

/*
 * The request is done.  It is remembered only if its end can be undone
 * without its beginning.
 */
void
begun_done(BegunRequest *request)
{
	Frame	   *frame = current_frame();

	dlist_delete(&request->node);
	if (request->begun == frame)
		drop(request);
	else
	{
		request->done = frame;
		dlist_push_tail(&frame->requests, &request->node);
	}
}

/* What happened in the frame happened in the next outer one. */
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
		if (request->begun == request->done)
			drop(request);
		else
			dlist_push_tail(&outer->requests, iter.cur);
	}
}

/* What happened in the frame did not happen. */
static void
undo_frame(Frame *frame)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &frame->requests)
	{
		BegunRequest *request = dlist_container(BegunRequest, node, iter.cur);

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
 * The present subtransaction ends.
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
		/* Nothing has happened in the parent: it takes over the frame. */
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
 * Raise 25000 if something was begun and not done.  All subtransactions have
 * ended, so whatever is left is not done.
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

/* The transaction has ended, and its memory with it. */
void
begun_forget(void)
{
	begun_requests = NULL;
	frames = NULL;
}
