/*
 * check.c
 *		Find the problems of a table that is, or will be, guarded.
 *
 * cas_enable() raises the first problem that it cannot fix, and the view
 * cas_tables shows all of them.  A use of the table raises the first problem
 * with which the guard cannot work.
 */
#include "cas.h"

#include "access/relation.h"
#include "catalog/catalog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "rewrite/prs2lock.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(cas_table_settings);

/* The table being checked, and the problems found so far. */
typedef struct Check
{
	Relation	rel;
	const CasSettings *settings;
	const CasTriggers *triggers;
	Bitmapset  *key;			/* columns of the primary key */
	AttrNumber	version;		/* 0 if missing */
	List	   *problems;
} Check;

static CasProblem *add(Check *check, CasProblemKind kind, int sqlstate,
					   const char *hint, const char *text,...)
			pg_attribute_printf(5, 6);

/* Add a problem and return it.  hint may be NULL. */
static CasProblem *
add(Check *check, CasProblemKind kind, int sqlstate, const char *hint,
	const char *text,...)
{
	CasProblem *problem = palloc0(sizeof(CasProblem));
	StringInfoData buf;

	initStringInfo(&buf);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, text);
		needed = appendStringInfoVA(&buf, text, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&buf, needed);
	}
	problem->kind = kind;
	problem->sqlstate = sqlstate;
	problem->text = buf.data;
	problem->hint = hint;
	check->problems = lappend(check->problems, problem);
	return problem;
}

/*
 * Check the relation itself.  Return false if it is not a table; then nothing
 * else can be checked.
 */
static bool
check_relation(Check *check)
{
	Form_pg_class form = check->rel->rd_rel;
	Oid			relid = RelationGetRelid(check->rel);
	bool		is_table = form->relkind == RELKIND_RELATION;

	if (!is_table && form->relkind != RELKIND_PARTITIONED_TABLE)
	{
		add(check, CAS_PROBLEM_UNFIT, ERRCODE_WRONG_OBJECT_TYPE,
			form->relkind == RELKIND_VIEW ?
			"Enable the table that the view is based on. Writes through the view are guarded, too." : NULL,
			"it is not a table");
		return false;
	}
	if (IsSystemRelation(check->rel))
		add(check, CAS_PROBLEM_UNFIT, ERRCODE_WRONG_OBJECT_TYPE, NULL,
			"it is a system table");
	if (RelationGetNamespace(check->rel) == internal_schema())
		add(check, CAS_PROBLEM_UNFIT, ERRCODE_WRONG_OBJECT_TYPE, NULL,
			"it belongs to the extension itself");
	if (RELATION_IS_OTHER_TEMP(check->rel))
		add(check, CAS_PROBLEM_UNFIT, ERRCODE_FEATURE_NOT_SUPPORTED, NULL,
			"it is a temporary table of another session");

	/* A partition gets its guard from the partitioned table. */
	if (form->relispartition)
		add(check, CAS_PROBLEM_PARTITION, ERRCODE_WRONG_OBJECT_TYPE,
			"Enable the partitioned table, which guards its partitions, too.",
			"it is a partition");
	else if (has_superclass(relid))
		add(check, CAS_PROBLEM_UNFIT, ERRCODE_WRONG_OBJECT_TYPE,
			"Updates through the parent would bypass the guard.",
			"it inherits from another table");

	/* no lock on the children, since only their existence matters */
	if (is_table && find_inheritance_children(relid, NoLock) != NIL)
		add(check, CAS_PROBLEM_UNFIT, ERRCODE_WRONG_OBJECT_TYPE,
			"Their rows would not be guarded.",
			"other tables inherit from it");
	return true;
}

/*
 * Check the primary key.  It must not be deferrable, and it must be a unique
 * btree index.
 */
static void
check_key(Check *check)
{
	Oid			indexid = RelationGetPrimaryKeyIndex(check->rel, false);
	Relation	index;

	if (!OidIsValid(indexid))
	{
		add(check, CAS_PROBLEM_UNFIT, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
			"Rows are identified by the primary key. Add one with ALTER TABLE ... ADD PRIMARY KEY.",
			"it has no primary key, or a deferrable one");
		return;
	}
	index = relation_open(indexid, AccessShareLock);
	for (int i = 0; i < IndexRelationGetNumberOfKeyAttributes(index); i++)
		check->key = bms_add_member(check->key,
									index->rd_index->indkey.values[i]);

	if (!cas_identifies_rows(index))
		add(check, CAS_PROBLEM_UNFIT, ERRCODE_FEATURE_NOT_SUPPORTED,
			"A key WITHOUT OVERLAPS does not identify a single row. Use a primary key whose columns are compared for equality.",
			"its primary key is not a unique btree index");
	relation_close(index, AccessShareLock);
}

/* Return the column of this name, or NULL. */
static Form_pg_attribute
find_column(Relation rel, const char *name)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			return att;
	}
	return NULL;
}

/* Return the attribute number of the column of this name, or 0. */
AttrNumber
cas_find_column(Relation rel, const char *name)
{
	Form_pg_attribute att = find_column(rel, name);

	return att != NULL ? att->attnum : InvalidAttrNumber;
}

/* Add a problem for a column that does not exist. */
static CasProblem *
add_missing(Check *check, const char *what, const char *name)
{
	return add(check, CAS_PROBLEM_BROKEN, ERRCODE_UNDEFINED_COLUMN,
			   "If the column was renamed, call cas_enable() with its new name.",
			   "%s \"%s\" does not exist", what, name);
}

static void
check_version(Check *check)
{
	const char *name = check->settings->version_column;
	Form_pg_attribute att = find_column(check->rel, name);

	/* If the column is missing, cas_enable() may add it. */
	if (att == NULL)
	{
		if (get_attnum(RelationGetRelid(check->rel), name) < 0)
			add(check, CAS_PROBLEM_BROKEN, ERRCODE_WRONG_OBJECT_TYPE, NULL,
				"version column \"%s\" is a system column", name);
		else
			add_missing(check, "version column",
						name)->missing_version = true;
		return;
	}
	check->version = att->attnum;
	if (!cas_is_integer(att->atttypid))
		add(check, CAS_PROBLEM_BROKEN, ERRCODE_DATATYPE_MISMATCH,
			"A version is a smallint, an integer or a bigint.",
			"version column \"%s\" is of type %s", name,
			format_type_be(att->atttypid))->column = att->attnum;

	/* the guard could not set the version of such a column */
	if (att->attgenerated != '\0' || att->attidentity != '\0')
		add(check, CAS_PROBLEM_UNFIT, ERRCODE_WRONG_OBJECT_TYPE, NULL,
			"version column \"%s\" is generated", name)->column = att->attnum;
	if (bms_is_member(att->attnum, check->key))
		add(check, CAS_PROBLEM_UNFIT, ERRCODE_INVALID_PARAMETER_VALUE, NULL,
			"version column \"%s\" is part of the primary key", name)->column = att->attnum;
}

static void
check_payload(Check *check)
{
	const char *name = check->settings->payload_column;
	Form_pg_attribute att;

	if (name == NULL)
		return;
	att = find_column(check->rel, name);
	if (att == NULL)
	{
		add_missing(check, "payload column", name);
		return;
	}

	/* A domain over jsonb is allowed. */
	if (getBaseType(att->atttypid) != JSONBOID)
		add(check, CAS_PROBLEM_BROKEN, ERRCODE_DATATYPE_MISMATCH, NULL,
			"payload column \"%s\" is not of type jsonb", name)->column = att->attnum;
	if (att->attgenerated != '\0')
		add(check, CAS_PROBLEM_UNFIT, ERRCODE_WRONG_OBJECT_TYPE, NULL,
			"payload column \"%s\" is generated", name)->column = att->attnum;
	if (bms_is_member(att->attnum, check->key))
		add(check, CAS_PROBLEM_UNFIT, ERRCODE_INVALID_PARAMETER_VALUE, NULL,
			"payload column \"%s\" is part of the primary key", name)->column = att->attnum;
}

static void
check_ignored(Check *check)
{
	const CasNames *names = &check->settings->ignore_columns;

	for (int i = 0; i < names->length; i++)
	{
		Form_pg_attribute att = find_column(check->rel, names->names[i]);

		/* a change of the key or the version always counts */
		if (att == NULL)
			add_missing(check, "ignored column", names->names[i]);
		else if (bms_is_member(att->attnum, check->key))
			add(check, CAS_PROBLEM_UNFIT, ERRCODE_INVALID_PARAMETER_VALUE,
				NULL, "ignored column \"%s\" is part of the primary key",
				names->names[i])->column = att->attnum;
		else if (att->attnum == check->version)
			add(check, CAS_PROBLEM_UNFIT, ERRCODE_INVALID_PARAMETER_VALUE,
				NULL, "ignored column \"%s\" is the version",
				names->names[i])->column = att->attnum;
	}
}

static void
check_triggers(Check *check)
{
	const CasTriggers *triggers = check->triggers;
	Trigger    *misplaced = cas_misplaced_trigger(triggers);

	/* It could change the version without being noticed. */
	if (misplaced != NULL)
		add(check, CAS_PROBLEM_UNFIT, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
			"BEFORE triggers fire in the order of their names. Rename the trigger with ALTER TRIGGER ... RENAME TO.",
			"trigger \"%s\" fires %s", misplaced->tgname,
			strcmp(misplaced->tgname, triggers->guard != NULL ?
				   triggers->guard->tgname : CAS_GUARD_TRIGGER) > 0 ?
			"after the guard" : "before the guard's witness");
	if (triggers->guard == NULL)
		return;

	/* The owner may have disabled them for a while, so this is no error. */
	if (cas_trigger_is_off(triggers->guard))
		add(check, CAS_PROBLEM_TOLD, 0, NULL, "the guard is disabled");
	if (cas_trigger_is_off(triggers->witness))
		add(check, CAS_PROBLEM_TOLD, 0, NULL,
			"the guard's witness is missing or disabled");

	/* A statement trigger is not cloned to partitions. */
	if (check->settings->versions == CAS_VERSIONS_TABLE &&
		!check->rel->rd_rel->relispartition &&
		cas_trigger_is_off(triggers->truncate))
		add(check, CAS_PROBLEM_TOLD, 0, NULL,
			"the trigger for TRUNCATE is missing or disabled");
}

/*
 * Look for a conditional DO INSTEAD rule.  With such a rule PostgreSQL does
 * not support RETURNING.
 */
static void
check_rules(Check *check)
{
	RuleLock   *rules = check->rel->rd_rules;

	for (int i = 0; rules != NULL && i < rules->numLocks; i++)
		if (rules->rules[i]->isInstead && rules->rules[i]->qual != NULL)
		{
			add(check, CAS_PROBLEM_UNFIT, ERRCODE_FEATURE_NOT_SUPPORTED,
				"Use a trigger in place of the rule.",
				"it has a conditional DO INSTEAD rule");
			break;
		}
}

static void
check_sequence(Check *check)
{
	const CasNames *names = &check->settings->sequence;

	if (names->length > 0 &&
		!OidIsValid(cas_sequence(check->rel, check->settings)))
		add(check, CAS_PROBLEM_TOLD, ERRCODE_UNDEFINED_TABLE, NULL,
			"sequence \"%s.%s\" does not exist or does not belong to the table",
			names->names[0], names->names[1]);
}

/*
 * Return the problems of a table with these triggers, and with the settings
 * that it has or will have, as a list of CasProblem.  The caller holds a lock
 * on the table.
 */
List *
cas_check(Relation rel, const CasSettings *settings,
		  const CasTriggers *triggers)
{
	Check		check = {rel, settings, triggers};

	/* check_key() and check_version() find columns that others look at */
	if (!check_relation(&check))
		return check.problems;
	check_key(&check);
	check_version(&check);
	check_payload(&check);
	check_ignored(&check);
	check_triggers(&check);
	check_rules(&check);
	check_sequence(&check);
	return check.problems;
}

/*
 * Read the settings of a guarded table, and return the first problem with
 * which its guard cannot work, or NULL.
 */
CasProblem *
cas_check_guard(Relation rel, const CasTriggers *triggers,
				CasSettings *settings)
{
	Check		check = {rel, settings, triggers};
	char	   *malformed = cas_parse_settings(triggers->guard, settings);
	ListCell   *lc;

	if (malformed != NULL)
		return add(&check, CAS_PROBLEM_BROKEN,
				   ERRCODE_INVALID_PARAMETER_VALUE,
				   "Use cas_enable() to make the guard.", "%s", malformed);

	/* Only these checks find problems of kind CAS_PROBLEM_BROKEN. */
	check_version(&check);
	check_payload(&check);
	check_ignored(&check);
	foreach(lc, check.problems)
	{
		CasProblem *problem = lfirst(lc);

		if (problem->kind == CAS_PROBLEM_BROKEN)
			return problem;
	}
	return NULL;
}

/*
 * Raise a problem.  before tells what cannot be done because of it.
 */
void
cas_raise_problem(Relation rel, const char *before, const CasProblem *problem)
{
	ereport(ERROR,
			(errcode(problem->sqlstate),
			 errmsg("%s: %s", before, problem->text),
			 problem->hint != NULL ? errhint("%s", problem->hint) : 0,
			 problem->column != 0 ? errtablecol(rel, problem->column) :
			 errtable(rel)));
}

/* ----------
 * As a column of cas_tables
 * ----------
 */

/* Return all problems of a guarded table as one text, or NULL. */
static char *
problems_text(Relation rel, const CasTriggers *triggers,
			  CasSettings *settings)
{
	char	   *malformed = cas_parse_settings(triggers->guard, settings);
	StringInfoData text;
	ListCell   *lc;

	if (malformed != NULL)
		return malformed;
	initStringInfo(&text);
	foreach(lc, cas_check(rel, settings, triggers))
	{
		CasProblem *problem = lfirst(lc);

		/* it is no problem of a table that has its guard as a partition */
		if (problem->kind != CAS_PROBLEM_PARTITION ||
			!triggers->guard->tgisclone)
			appendStringInfo(&text, "%s%s", text.len > 0 ? "; " : "",
							 problem->text);
	}
	return text.len > 0 ? text.data : NULL;
}

/*
 * cas_table_settings(rel regclass) RETURNS record
 *
 * Returns the settings and the problems of a guarded table or partition; all
 * columns are NULL if it does not exist.  For the view cas_tables.
 */
Datum
cas_table_settings(PG_FUNCTION_ARGS)
{
	Relation	rel = try_relation_open(PG_GETARG_OID(0), AccessShareLock);
	TupleDesc	desc = cas_settings_desc(1);
	Datum		values[CAS_SETTINGS + 1];
	bool		nulls[CAS_SETTINGS + 1];
	CasTriggers triggers = {0};
	CasSettings settings;
	char	   *problems;

	TupleDescInitEntry(desc, CAS_SETTINGS + 1, "problem", TEXTOID, -1, 0);
	TupleDescFinalize(desc);
	memset(nulls, true, sizeof(nulls));
	if (rel != NULL)
		cas_find_triggers(rel, &triggers);

	/* If the settings are malformed, only the problem is returned. */
	if (triggers.guard != NULL)
	{
		problems = problems_text(rel, &triggers, &settings);
		if (cas_parse_settings(triggers.guard, &settings) == NULL)
			cas_settings_values(&settings, values, nulls);
		if (problems != NULL)
			values[CAS_SETTINGS] = CStringGetTextDatum(problems);
		nulls[CAS_SETTINGS] = problems == NULL;
	}
	else if (rel != NULL)
	{
		/*
		 * The view lists triggers whose function is cas_guard(), but somebody
		 * has replaced that function.
		 */
		values[CAS_SETTINGS] = CStringGetTextDatum("it has no guard");
		nulls[CAS_SETTINGS] = false;
	}
	if (rel != NULL)
		relation_close(rel, AccessShareLock);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values,
											 nulls));
}
