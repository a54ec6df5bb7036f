/*
 * txn.h
 *		What the files of cas_txn() share.
 *
 * txn.c			the order of locks, and execution
 * txn_answer.c		the answer
 * txn_request.c	the request
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

/* What an operation takes beside op, table and id, and how it locks. */
typedef struct TxnOpShape
{
	const char *name;
	TxnField	required;
	TxnField	optional;
	CasLockMode lock;
} TxnOpShape;

typedef struct TxnTable
{
	char	   *name;			/* as the request has it */
	CasCall		call;
} TxnTable;

/*
 * A row that the request names.  Where it does so more than once, one of the
 * structs stands for all, and the others lead to it.
 */
typedef struct TxnRow
{
	TxnTable   *table;
	CasKey		key;
	struct TxnItem *item;		/* of its first mention */
	struct TxnRow *same;
	bool		mentioned_again;
	CasLockMode lock;
	bool		versioned;		/* a comparison has its version */
	const struct TxnList *written_by;	/* the last list to write it */
	bool		locked;			/* it was there when it was to be locked, */
	bool		found;			/* and it is there now */
	CasRow		row;
} TxnRow;

/* A comparison or an operation. */
typedef struct TxnItem
{
	const char *list;			/* its position, such as success[2] */
	int			index;
	TxnTable   *table;
	TxnRow	   *row;			/* NULL: create makes the key */
	TxnRow	   *new_row;		/* of rename */
	int64		version;		/* -1: none given */
	bool		exists;			/* comparison: else absent, if no version */
	TxnOp		op;
	Jsonb	   *document;		/* payload, patch or args; may be NULL */
	FmgrInfo	fn;
	bool		done;			/* when its row was locked; then what came of
								 * it */
	CasOutcome	outcome;
	CasRow		result;
} TxnItem;

typedef struct TxnList
{
	const char *name;
	TxnItem    *items;
	int			n;
} TxnList;

/* The request, as far as it has been read. */
typedef struct Txn
{
	FunctionCallInfo fcinfo;
	List	   *tables;			/* of TxnTable */
	List	   *rows;			/* of TxnRow */
	JsonbValue	fields[TXN_FIELDS]; /* of the item that is being read */
	bool		has_field[TXN_FIELDS];
	const TxnItem *reading;		/* what others read for us, */
	TxnField	reading_field;	/* or FIELD_NONE */
} Txn;

/* txn_request.c */
extern const TxnOpShape txn_shapes[];

extern void txn_read_request(Txn *txn, TxnList *compare, TxnList *success,
							 TxnList *failure);
extern void txn_check_versions(const TxnList *list, bool compared);
extern bool txn_takes_version(TxnOp op);
extern char *txn_position(const TxnItem *item);
pg_noreturn extern void txn_rethrow_at(const TxnItem *item,
									   MemoryContext mcxt);

/* txn_answer.c */
extern void txn_answer_begin(JsonbParseState **state);
extern bool txn_answer_comparisons(JsonbParseState **state,
								   const TxnList *list);
extern void txn_answer_results_begin(JsonbParseState **state);
extern void txn_answer_result(JsonbParseState **state, TxnItem *item,
							  CasOutcome outcome, const CasRow *row);
extern void txn_answer_results_end(JsonbParseState **state);
extern Jsonb *txn_answer_end(JsonbParseState **state);

#endif							/* PG_CAS_TXN_H */
