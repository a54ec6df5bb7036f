/*
 * cas.h
 *		Versioned rows: declarations shared by the files of src/cas.
 *
 * README.md lists the files from top to bottom; each calls those below it.
 */
#ifndef PG_CAS_CAS_H
#define PG_CAS_CAS_H

#include "pg_cas.h"

#include "access/genam.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "nodes/bitmapset.h"
#include "nodes/execnodes.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/sortsupport.h"

/*
 * BEFORE triggers fire in the order of their names.  The guard must see the
 * row as the other triggers leave it, so its name sorts after theirs.
 */
#define CAS_GUARD_TRIGGER	"zzz_cas_guard"

/* The witness must see the row as the statement sent it, so it sorts first. */
#define CAS_WITNESS_TRIGGER	"!cas_witness"

/* Keeps TRUNCATE ... RESTART IDENTITY from resetting the version sequence. */
#define CAS_TRUNCATE_TRIGGER	"cas_truncate"

typedef enum CasWriters
{
	CAS_WRITERS_BUMP,			/* a client sends the old version plus one */
	CAS_WRITERS_ECHO			/* a client sends back the version it read */
} CasWriters;

/* A list of column names, or a path of object keys. */
typedef struct CasNames
{
	int			length;
	char	  **names;
} CasNames;

typedef enum CasUnversioned
{
	CAS_UNVERSIONED_ALLOW,
	CAS_UNVERSIONED_REJECT		/* a writer must mention the version */
} CasUnversioned;

typedef enum CasEnforce
{
	CAS_ENFORCE_ERROR,
	CAS_ENFORCE_WARN			/* a dry run */
} CasEnforce;

typedef enum CasBigNumbers
{
	CAS_BIG_NUMBERS_NUMBER,
	CAS_BIG_NUMBERS_STRING		/* int8 and numeric as JSON strings */
} CasBigNumbers;

typedef enum CasVersions
{
	CAS_VERSIONS_ROW,			/* each row has its own counter */
	CAS_VERSIONS_TABLE			/* all are drawn from one sequence */
} CasVersions;

/*
 * A guarded table's settings (settings.c).  A setting that is one of several
 * keywords is stored as the keyword's position, which is the enum's value.
 */
typedef struct CasSettings
{
	char	   *version_column;
	char	   *payload_column; /* NULL if the row's columns are the payload */
	int			writers;		/* CasWriters */
	int			unversioned;	/* CasUnversioned */
	int			versions;		/* CasVersions */
	CasNames	ignore_columns;
	CasNames	version_path;	/* path from the payload's top */
	int			enforce;		/* CasEnforce */
	int			big_numbers;	/* CasBigNumbers */
	CasNames	sequence;		/* schema and name; empty unless versions are
								 * the table's */
} CasSettings;

/* Number of settings that are arguments of cas_enable(). */
#define CAS_SETTINGS 9

/*
 * All triggers of a relation, copied from the relcache, and the guard and its
 * companions among them (trigger.c).
 */
typedef struct CasTriggers
{
	int			n;
	Trigger    *all;
	Trigger    *guard;			/* NULL if missing, as the next two */
	Trigger    *witness;
	Trigger    *truncate;
} CasTriggers;

typedef enum CasProblemKind
{
	CAS_PROBLEM_BROKEN,			/* the guard cannot work */
	CAS_PROBLEM_UNFIT,			/* cas_enable() refuses the table */
	CAS_PROBLEM_PARTITION,		/* as UNFIT, but not shown in cas_tables */
	CAS_PROBLEM_TOLD			/* shown in cas_tables only */
} CasProblemKind;

/* A problem of a table (check.c). */
typedef struct CasProblem
{
	CasProblemKind kind;
	int			sqlstate;
	char	   *text;
	const char *hint;			/* may be NULL */
	AttrNumber	column;			/* 0: none */
	bool		missing_version;	/* cas_enable() would add it */
} CasProblem;

typedef struct CasKeyColumn
{
	AttrNumber	attnum;
	char	   *name;
	Oid			type;
	int32		typmod;
	Oid			collation;
	Oid			equals;			/* operators */
	Oid			less;

	/*
	 * OIDs of functions.  We keep no FmgrInfo, because the state that a
	 * function stores there is valid for one statement only.
	 */
	Oid			equal;
	Oid			hash;			/* InvalidOid if the type has none */
	Oid			input;
	Oid			input_param;
} CasKeyColumn;

/*
 * A guarded table, or a partition of one, cached per backend (table.c).  It
 * stays readable until the end of the transaction that looked it up, even if
 * the table changes meanwhile.
 */
typedef struct CasTable
{
	Oid			relid;
	Oid			root;			/* relid, or the table it is a partition of */
	MemoryContext mcxt;

	CasSettings settings;
	char		guard_enabled;	/* pg_trigger.tgenabled */
	AttrNumber	version;
	Oid			version_type;	/* int2, int4 or int8 */
	AttrNumber	payload;		/* 0 if the row's columns are the payload */
	Bitmapset  *ignored;		/* attribute numbers */

	int			nkeys;			/* 0 if there is no usable primary key */
	CasKeyColumn *keys;
	bool		keys_equal_image;	/* equal keys have identical images */
	Oid			key_index;
	Oid			key_constraint;

	Oid			rowtype;
	TupleDesc	desc;			/* a copy */
	Bitmapset  *payload_columns;	/* columns of the payload */
	Bitmapset  *exact;			/* columns of exact types, see payload.c */

	/* see plain.c and direct.c */
	bool		other_triggers; /* other than the guard and its companions */
	bool		user_triggers;	/* ... and than those of foreign keys */
	bool		direct_read;	/* rows can be read and locked directly */
	bool		direct_write;	/* and updated, but for these columns: */
	Bitmapset  *foreign_keys;	/* columns that foreign keys use */
	bool		referencing;	/* there are foreign keys of its own */
	Bitmapset  *match_full;		/* columns that may have to be NULL together */
	bool		computes;		/* CHECK constraints or generated columns */
	bool		plain;			/* all of an update is the row, its indexes
								 * and the guard */
	bool		unique_key;		/* plain, and only the key is unique */

	const Bitmapset *answers[4];	/* columns returned, by CAS_WANTS_ flags */
	List	   *plans;			/* of CasPlan, see plan.c */
	int			running;		/* maximum number of them that are running */
	LocalTransactionId running_in;	/* transaction that running belongs to */

	/* see sequence.c */
	bool		floor_known;
	int64		floor;			/* versions drawn must be larger */
} CasTable;

/* The value of a primary key. */
typedef struct CasKey
{
	ItemPointerData tid;		/* where the row was found last, or invalid */
	Datum		values[INDEX_MAX_KEYS];	/* arrays of keys cut this short */
} CasKey;

/*
 * The row that this extension is about to UPDATE without mentioning its
 * version.  The guard accepts that for this row only, when it fires for the
 * announced statement itself, and clears relid when it has seen the key.
 */
typedef struct GuardExpectation
{
	Oid			relid;			/* InvalidOid if there is none */
	CasTable   *table;			/* the table that the key belongs to */
	CasKey	   *key;			/* NULL for any row of the table */
	CommandId	command;		/* of the statement, or InvalidCommandId */
	int			depth;			/* of triggers where it was announced */
} GuardExpectation;

/* A version that a writer mentions. */
typedef struct CasMention
{
	bool		mentioned;
	bool		malformed;		/* the value in the document is no integer */
	bool		isnull;
	int64		version;
} CasMention;

/* What a statement mentions, in the two places where it can. */
typedef struct CasSent
{
	CasMention	column;			/* in the SET list */
	CasMention	document;		/* at version_path, with writers => 'echo' */
} CasSent;

typedef enum CasOutcome
{
	CAS_CREATED,
	CAS_UPDATED,
	CAS_UNCHANGED,
	CAS_DELETED,
	CAS_RENAMED,
	/* these mean that nothing was written */
	CAS_CONFLICT,
	CAS_MISSING,
	CAS_EXISTS
} CasOutcome;

/* A row as it was written or found. */
typedef struct CasRow
{
	char	   *id;				/* NULL if not asked for */
	bool		version_isnull;
	int64		version;
	Jsonb	   *payload;		/* NULL if not asked for or not readable */
} CasRow;

/* The executor's state for updates of the same columns (executor.c). */
typedef struct CasExecutor
{
	EState	   *estate;			/* NULL until it is needed */
	ResultRelInfo *result;
	Bitmapset  *columns;		/* columns that the updates write */
} CasExecutor;

/*
 * What a call does with rows.  A table whose rows are locked is locked as for
 * writing: swaps often follow in the transaction, and who has got a lock in
 * between that excludes writers, and waits for more, such as REINDEX, would
 * deadlock with them.
 */
typedef enum CasAccess
{
	CAS_READS,
	CAS_LOCKS,
	CAS_WRITES
} CasAccess;

/* One call of an SQL function on one guarded table (swap.c). */
typedef struct CasCall
{
	Relation	rel;
	CasTable   *table;
	Oid			function;		/* the SQL function called */
	MemoryContext caller;		/* context of the call */
	MemoryContext results;		/* for the row that it returns; the same, or
								 * one that is reset for each row */
	SortSupport compare;		/* comparison of the key's columns, NULL until
								 * needed */
	bool		payload_readable;	/* the caller has SELECT on all of it */
	bool		keys_locked;	/* cas_txn() locks all keys, also those of
								 * missing rows, before it writes */
	bool		connected;		/* to SPI */
	CasAccess	access;
	uint64		invalidations;	/* cas_invalidations when the table was looked
								 * at last */

	/* see direct.c */
	Oid			user;			/* the role that the next three apply to */
	bool		direct_read;	/* the direct path may read, */
	bool		direct_lock;	/* lock, */
	bool		direct_write;	/* and update rows */
	IndexScanDesc scan;			/* NULL until the direct path is used */
	TupleTableSlot *found;
	TupleTableSlot *written;
	CasExecutor executor;
} CasCall;

/* Whether UPDATEs of the columns use the direct path, unless they must fail. */
static inline bool
call_writes_directly(const CasCall *call, const Bitmapset *columns)
{
	/* a function called by cas_apply() may have changed the current role */
	return call->direct_write && GetUserId() == call->user &&
		!bms_overlap(columns, call->table->foreign_keys);
}

typedef enum CasLockMode
{
	CAS_LOCK_SHARE,
	CAS_LOCK_NO_KEY_UPDATE,		/* for updates that leave the key unchanged */
	CAS_LOCK_UPDATE
} CasLockMode;

/* What to return of a row besides its version. */
#define CAS_WANTS_ID		0x1
#define CAS_WANTS_PAYLOAD	0x2

/* Kinds of statements, each on one row (sql.c). */
typedef enum CasStatementKind
{
	STATEMENT_READ,
	STATEMENT_LOCK_SHARE,
	STATEMENT_LOCK_NO_KEY_UPDATE,
	STATEMENT_LOCK_UPDATE,
	STATEMENT_INSERT,
	STATEMENT_INSERT_NEW_KEY,	/* the key comes from its default */
	STATEMENT_UPDATE,
	STATEMENT_DIFFERS,			/* finds the row that UPDATE would change */
	STATEMENT_DELETE,
	STATEMENT_RENAME
} CasStatementKind;

/* The column values that a payload writes. */
typedef struct CasWrite
{
	Bitmapset  *columns;		/* columns to write */
	bool		comparable;		/* the caller may read all of them */
	Datum	   *values;			/* indexed by attribute number - 1 */
	bool	   *nulls;

	/*
	 * Further columns that the payload names.  Whether they are written
	 * depends on the row; payload_settle() decides that.
	 */
	Bitmapset  *unsettled;
	Jsonb	   *payload;
} CasWrite;

/* Values read from a row, indexed by attribute number - 1. */
typedef struct CasLook
{
	const Bitmapset *columns;
	Datum	   *values;
	bool	   *nulls;
} CasLook;

/* A statement on one row, with its arguments. */
typedef struct CasStatement
{
	CasStatementKind kind;
	CasKey	   *key;			/* NULL for INSERT_NEW_KEY */
	int64		version;		/* expected version, if the kind compares it */
	const CasWrite *write;		/* for INSERT, UPDATE and DIFFERS */
	CasKey	   *new_key;		/* for RENAME */
	Snapshot	snapshot;		/* InvalidSnapshot for a new one */
	bool		as_of;			/* use the snapshot's curcid, so that later
								 * changes of this transaction are not seen */
	int			wants;			/* CAS_WANTS_ flags */
	CasLook    *look;			/* columns to read as well, or NULL */
} CasStatement;

/* relation.c */
extern char *cas_relation_name(Relation rel);
extern int	cas_errdetail_table(Relation rel);
extern bool cas_is_part_of(Relation rel, Oid relid);
extern Oid	cas_owner(Relation rel);

/* settings.c */
extern char *cas_parse_settings(const Trigger *guard, CasSettings *settings);
extern char *cas_settings_arguments(const CasSettings *settings);
extern void cas_settings_from_arguments(FunctionCallInfo fcinfo,
										CasSettings *settings);
extern bool cas_same_names(const CasNames *a, const CasNames *b);
extern TupleDesc cas_settings_desc(int more);
extern void cas_settings_values(const CasSettings *settings, Datum *values,
								bool *nulls);

/* trigger.c */
extern void cas_find_triggers(Relation rel, CasTriggers *found);
extern bool cas_has_other_triggers(const CasTriggers *triggers);
extern bool cas_has_user_triggers(const CasTriggers *triggers);
extern Trigger *cas_misplaced_trigger(const CasTriggers *triggers);
extern bool cas_trigger_is_off(const Trigger *trigger);

/* check.c */
extern AttrNumber cas_find_column(Relation rel, const char *name);
extern List *cas_check(Relation rel, const CasSettings *settings,
					   const CasTriggers *triggers);
extern CasProblem *cas_check_guard(Relation rel, const CasTriggers *triggers,
								   CasSettings *settings);
pg_noreturn extern void cas_raise_problem(Relation rel, const char *before,
										  const CasProblem *problem);

/* plain.c */
extern void cas_load_directness(Relation rel, CasTable *table);

/* table.c */
extern uint64 cas_invalidations;
extern CasTable *cas_table_of(Relation rel);
extern bool cas_guard_fires(CasTable *table);

/* version.c */
extern bool cas_is_integer(Oid type);
extern int64 cas_integer(Datum value, Oid type);
extern int64 cas_version_value(CasTable *table, Datum value);
extern Datum cas_version_datum(CasTable *table, int64 version);
extern JsonbValue *cas_value_at_path(Jsonb *document, const CasNames *path);
extern CasMention cas_document_version(const CasTable *table,
									   Jsonb *document);
extern bool cas_mentions_another(const CasMention *sent, int64 version);

/* sequence.c */
extern Oid	cas_find_sequence(Oid root, const char *version_column,
							  const char *name);
extern Oid	cas_sequence(Relation rel, const CasSettings *settings);
extern bool cas_sequence_last(Oid sequence, int64 *last);
extern bool cas_lock_sequence(Oid sequence);
extern int64 cas_greatest_version(Relation rel, const char *version_column);
extern int64 cas_draw_version(Relation rel, CasTable *table, int64 after);
extern int64 cas_draw_last(Oid sequence);

/* advance.c */
extern int64 cas_next_version(Relation rel, CasTable *table, int64 old);
extern int64 cas_first_version(Relation rel, CasTable *table, int64 supplied,
							   bool isnull);

/* key.c */
extern bool cas_identifies_rows(Relation index);
extern void cas_load_key(CasTable *table, Relation rel);
extern void cas_key_from_argument(CasTable *table, Datum id, Oid type,
								  CasKey *key);
extern void cas_key_from_text(CasTable *table, char *id, CasKey *key);
extern void cas_key_from_object(CasTable *table, Jsonb *id, CasKey *key);
extern char *cas_key_text(CasTable *table, const Datum *values,
						  const bool *nulls);
extern bool cas_key_column_equal(const CasKeyColumn *column, Datum a, Datum b);
extern int	cas_key_compare(CasCall *call, const CasKey *a, const CasKey *b);

/* populate.c */
extern void cas_populate(CasTable *table, Jsonb *object, Datum *values,
						 bool *nulls);

/* render.c */
extern Jsonb *render_row(TupleDesc desc, const Bitmapset *columns,
						 const Datum *values, const bool *nulls,
						 bool big_strings);

/* outcome.c */
extern const char *outcome_name(CasOutcome outcome);
extern void outcome_report(CasCall *call, const CasKey *key, int64 expected,
						   CasOutcome outcome, const CasRow *row,
						   const char *position, bool raise);

/* call.c */
extern void call_begin(CasCall *call, Oid relid, CasAccess access,
					   FunctionCallInfo fcinfo);
extern void call_end(CasCall *call);
extern void call_check_rules(CasCall *call, bool inserts);
extern void call_check_table(CasCall *call);
extern int	call_answer_wants(const CasCall *call);
extern bool call_may_lock(CasCall *call);
extern bool call_may_lock_keys(CasCall *call);
extern void call_check_apply_function(Oid function);

/* direct.c */
extern void direct_begin_call(CasCall *call, AclMode rights);
extern bool direct_serves(const CasCall *call, const CasStatement *statement);
extern bool direct_run(CasCall *call, const CasStatement *statement,
					   CasRow *row, bool *declined);
extern void direct_end_call(CasCall *call);
extern void direct_forget(CasCall *call);

/* document.c */
extern void document_push_key(JsonbInState *state, const char *key);
extern Jsonb *document_end(JsonbInState *state);
extern Jsonb *document_merge(Jsonb *target, Jsonb *patch);
extern Jsonb *document_stamp(Jsonb *document, const CasNames *path,
							 int64 version, bool as_string);
extern bool document_same(Jsonb *a, Jsonb *b, const CasNames *path);
extern bool document_same_values(JsonbValue *a, JsonbValue *b);
extern bool datum_same(Datum a, bool a_isnull, Datum b, bool b_isnull,
					   bool typbyval, int16 typlen);
extern bool document_holds_objects(Jsonb *object);
extern Jsonb *document_pick(Jsonb *document, Jsonb *names);
extern Jsonb *document_changes(Jsonb *old, Jsonb *new);
extern CasNames cas_path_from_array(Datum array);

/* absent.c */
/* Maximum number of single keys locked by a transaction and by one call. */
#define ABSENT_MAX_KEYS 256
#define ABSENT_MAX_NAMES 512

extern bool absent_has_keys(const CasTable *table);
extern void absent_create_begin(CasCall *call);
extern void absent_key_create(CasCall *call, const CasKey *key);
extern void absent_begin(CasTable *table, bool all);
extern void absent_key_lock(CasTable *table, const CasKey *key);

/* image.c */
extern bool image_differs(CasTable *table, TupleTableSlot *old,
						  const Datum *values, const bool *nulls,
						  const Bitmapset *columns, bool but_ignored);
extern bool image_set_version(CasTable *table, TupleTableSlot *old,
							  Datum *values, bool *nulls, int64 version);

/* guard.c */
extern Datum cas_guard(PG_FUNCTION_ARGS);
extern Datum cas_truncate(PG_FUNCTION_ARGS);
extern void cas_log_conflict(Relation rel, StringInfo detail);

/* announce.c */
extern int	cas_trigger_depth(void);
extern bool cas_guard_wants_announcement(const CasTable *table);
extern GuardExpectation cas_guard_announce(Relation rel, CasTable *table,
										   CasKey *key);
extern void cas_guard_withdraw(GuardExpectation former);
extern bool cas_guard_expects(TriggerData *trigdata);

/* witness.c */
extern Datum cas_witness(PG_FUNCTION_ARGS);
extern CasSent cas_sent_by_update(TriggerData *trigdata, CasTable *table);
extern CasSent cas_sent_by_insert(TriggerData *trigdata, CasTable *table);

/* upsert.c */
extern void cas_remember_insert(const FmgrInfo *guard, const CasTable *table,
								const CasSent *sent, int64 written);
extern void cas_replace_excluded(const FmgrInfo *guard, CasSent *sent);

/* payload.c */
extern void payload_load(CasTable *table);
extern Jsonb *payload_of_row(CasTable *table, const Datum *values,
							 const bool *nulls);
extern void payload_read(CasCall *call, CasKey *key, Jsonb *payload,
						 bool new_row, CasWrite *write);
extern CasLook *payload_look(CasCall *call, const CasWrite *write);
extern void payload_settle(CasCall *call, CasWrite *write,
						   const CasLook *look);

/* found.c */
extern const Bitmapset *found_columns(CasCall *call,
									  const CasStatement *statement);
extern void found_take(CasCall *call, const CasStatement *statement,
					   const Datum *values, const bool *nulls, CasRow *row);
pg_noreturn extern void found_raise_outdated(CasCall *call);

/* reach.c */
extern bool reach_by_delete(CasCall *call, CasKey *key);

/* statement.c */
extern void statement_connect(CasCall *call);
extern bool statement_run(CasCall *call, const CasStatement *statement,
						  CasRow *row);
extern bool statement_read(CasCall *call, CasKey *key, Snapshot snapshot,
						   int wants, CasRow *row);
extern bool statement_read_as_of(CasCall *call, CasKey *key,
								 Snapshot snapshot, CommandId command,
								 int wants, CasRow *row);

/* row.c */
/*
 * Attempts to write or lock a row that one statement sees and the next does
 * not.  Either row-level security hides it, or a trigger suppresses the write,
 * or other sessions delete and create the row between two of our statements,
 * once for each attempt.
 */
#define CAS_MAX_TRIES 5

extern bool row_has_policies(CasCall *call);
extern bool row_read(CasCall *call, CasKey *key, int wants, CasRow *row);
extern bool row_lock(CasCall *call, CasKey *key, CasLockMode mode, int wants,
					 CasLook *look, CasRow *row);
extern bool row_read_latest(CasCall *call, CasKey *key, int wants,
							CasRow *row);
extern bool row_lock_or_read(CasCall *call, CasKey *key, CasLockMode mode,
							 int wants, CasRow *row);

#endif							/* PG_CAS_CAS_H */
