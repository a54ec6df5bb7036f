/*
 * txn.h
 *		Declarations shared by the files of cas_txn().
 *
 * txn.c			locks the rows, and runs the operations
 * txn_answer.c		builds the answer
 * txn_request.c	reads the request
 */
#ifndef PG_CAS_TXN_H
#define PG_CAS_TXN_H

#include "cas.h"

typedef enum TxnOp
{
	TXN_CREATE,
	TXN_UPDATE,
	TXN_PATCH,
	TXN_DELETE,
	TXN_RENAME,
	TXN_MERGE,
	TXN_APPLY,
	TXN_PUT,
	TXN_GET
} TxnOp;

#define TXN_OPS (TXN_GET + 1)

/* The fields of comparisons and operations. */
typedef enum TxnField
{
	FIELD_NONE,
	FIELD_OP,
	FIELD_TABLE,
	FIELD_ID,
	FIELD_VERSION,
	FIELD_EXISTS,
	FIELD_ABSENT,
	FIELD_PAYLOAD,
	FIELD_PATCH,
	FIELD_NEW_ID,
	FIELD_FN,
	FIELD_ARGS
} TxnField;

#define TXN_FIELDS (FIELD_ARGS + 1)

/* An operation's name, its fields besides op, table and id, and its lock. */
typedef struct TxnOpShape
{
	const char *name;
	TxnField	required;
	TxnField	optional;
	CasLockMode lock;
} TxnOpShape;

typedef struct TxnTable
{
	char	   *name;			/* as in the request */
	CasCall		call;
} TxnTable;

/*
 * A row named in the request.  If it is named several times, the structs of
 * the other mentions point to the first one with "same", and only that is
 * used.
 */
typedef struct TxnRow
{
	TxnTable   *table;
	CasKey		key;
	struct TxnItem *item;		/* item that names it */
	int			mention;		/* number of rows named before */
	struct TxnRow *same;
	bool		mentioned_again;
	CasLockMode lock;			/* strongest lock that an item needs */
	bool		versioned;		/* a comparison has its version */
	const struct TxnList *written_by;	/* last list that writes it */
	bool		locked;			/* found and locked in lock_rows() */
	bool		found;			/* exists now */
	CasRow		row;			/* as it was when it was locked */
} TxnRow;

/* A comparison or an operation. */
typedef struct TxnItem
{
	const char *list;			/* name of its list, such as success */
	int			index;			/* position in the list */
	TxnTable   *table;
	TxnRow	   *row;			/* NULL if create takes the key's default */
	TxnRow	   *new_row;		/* for rename */
	int64		version;		/* -1 if none is given */
	bool		exists;			/* for a comparison without version: exists or
								 * absent */
	TxnOp		op;
	Jsonb	   *document;		/* payload, patch or args; may be NULL */
	Oid			fn;				/* for apply */
	bool		done;			/* run in lock_rows(), with this result: */
	CasOutcome	outcome;
	CasRow		result;
} TxnItem;

typedef struct TxnList
{
	const char *name;
	TxnItem    *items;
	int			n;
} TxnList;

/* The request, and what is being read. */
typedef struct Txn
{
	FunctionCallInfo fcinfo;
	List	   *tables;			/* of TxnTable */
	List	   *rows;			/* of TxnRow */
	JsonbValue	fields[TXN_FIELDS]; /* of the item being read */
	bool		has_field[TXN_FIELDS];
	bool		permitted[TXN_OPS]; /* operations whose functions the caller
									 * may execute */

	/* item and field being read, for errors raised by other functions */
	const TxnItem *reading;
	TxnField	reading_field;	/* or FIELD_NONE */
} Txn;

/* The answer that is being built (txn_answer.c). */
typedef struct TxnAnswer
{
	JsonbValue	object;
	JsonbValue *results;		/* elements of its array of results */
	bool		succeeded;		/* all comparisons hold */
} TxnAnswer;

/* txn_request.c */
extern const TxnOpShape txn_shapes[];

extern void txn_read_request(Txn *txn, TxnList *compare, TxnList *success,
							 TxnList *failure);
extern void txn_check_versions(const TxnList *list, bool compared);
pg_noreturn extern void txn_raise_two_tables(const TxnRow *row,
											 const TxnRow *former);
extern bool txn_takes_version(TxnOp op);
extern char *txn_position(const TxnItem *item);
pg_noreturn extern void txn_rethrow_at(const TxnItem *item,
									   MemoryContext mcxt);

/* txn_answer.c */
extern bool txn_answer_begin(TxnAnswer *answer, const TxnList *list);
extern void txn_answer_results(TxnAnswer *answer, const TxnList *list);
extern void txn_answer_result(TxnAnswer *answer, TxnItem *item,
							  CasOutcome outcome, const CasRow *row);
extern Jsonb *txn_answer_end(TxnAnswer *answer);

#endif							/* PG_CAS_TXN_H */
