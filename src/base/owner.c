/*
 * owner.c
 *		Find the extension's own schema and relations, and act as its owner.
 *
 * The tables that C code reads are in cas_internal and belong to the role that
 * ran the install script, a superuser.  The role that installed the extension,
 * its owner in pg_extension, can read and write them, and dump and restore
 * them, but cannot alter them.  The functions below act as that role.
 */
#include "base/base.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_extension.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* Return the schema of our own tables, sequences and private functions. */
Oid
internal_schema(void)
{
	return get_namespace_oid(INTERNAL_SCHEMA, false);
}

/* Return the OID of a relation in it; raise 42P01 if it is missing. */
Oid
internal_relation(const char *name)
{
	Oid			relid = get_relname_relid(name, internal_schema());

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"%s\" of extension pg_cas is missing",
						name)));
	return relid;
}

/*
 * Read an OID column of the extension's row in pg_extension.  That catalog has
 * no system cache before PostgreSQL 18, so this takes an index scan (3 us).
 * Callers use it where they create or refuse something, not on every call.
 */
static Oid
extension_oid_column(int attnum)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			result = InvalidOid;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber,
				F_NAMEEQ, CStringGetDatum("pg_cas"));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_extension form = (Form_pg_extension) GETSTRUCT(tuple);

		result = attnum == Anum_pg_extension_extowner ? form->extowner :
			form->extnamespace;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	if (!OidIsValid(result))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"%s\" does not exist", "pg_cas")));
	return result;
}

/* Return the role that installed the extension or was given it since. */
Oid
extension_owner(void)
{
	return extension_oid_column(Anum_pg_extension_extowner);
}

/* Return the schema of the extension's public functions and views. */
Oid
extension_schema(void)
{
	return extension_oid_column(Anum_pg_extension_extnamespace);
}

/*
 * Act as the extension's owner until owner_leave().  After an error, the end
 * of the (sub)transaction restores the role.
 */
void
owner_enter(OwnerScope *scope)
{
	Oid			owner = extension_owner();

	GetUserIdAndSecContext(&scope->caller, &scope->context);
	scope->guc_level = -1;

	/*
	 * As in a SECURITY DEFINER function, SET ROLE is not allowed meanwhile;
	 * and a restricted operation cannot leave anything behind in the session
	 * that would run later with the owner's rights.
	 */
	SetUserIdAndSecContext(owner,
						   scope->context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
}

void
owner_leave(const OwnerScope *scope)
{
	SetUserIdAndSecContext(scope->caller, scope->context);
}

/*
 * Act as the owner and connect to SPI, until owner_sql_end().
 */
void
owner_sql_begin(OwnerScope *scope)
{
	owner_enter(scope);

	/* The caller's search_path must not decide what our statements mean. */
	scope->guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp",
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

void
owner_sql_end(const OwnerScope *scope)
{
	SPI_finish();
	AtEOXact_GUC(true, scope->guc_level);
	owner_leave(scope);
}

/*
 * Return a snapshot that shows what has been committed up to now; in a
 * parallel query, up to its beginning.
 */
Snapshot
latest_snapshot(void)
{
	/* parallel workers cannot take new snapshots */
	return IsInParallelMode() ? GetActiveSnapshot() : GetLatestSnapshot();
}

/*
 * Run a statement on the latest committed state and return the number of its
 * rows.  "@" in the text stands for our schema and a dot.  The arguments must
 * not be NULL.  Call this between owner_sql_begin() and owner_sql_end().
 */
uint64
owner_sql(const char *statement, int nargs, Oid *types, Datum *values)
{
	return owner_sql_at(latest_snapshot(), statement, nargs, types, values);
}

/* The same with the given snapshot. */
uint64
owner_sql_at(Snapshot snapshot, const char *statement, int nargs, Oid *types,
			 Datum *values)
{
	StringInfoData query;
	SPIPlanPtr	plan;
	int			result;

	initStringInfo(&query);
	for (const char *c = statement; *c != '\0'; c++)
	{
		if (*c == '@')
			appendStringInfoString(&query, INTERNAL_SCHEMA ".");
		else
			appendStringInfoChar(&query, *c);
	}
	plan = SPI_prepare(query.data, nargs, types);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", query.data);

	/* read_only is false: the statement may write, and sees our writes */
	result = SPI_execute_snapshot(plan, values, NULL, snapshot,
								  InvalidSnapshot, false, true, 0);
	if (result < 0)
		elog(ERROR, "SPI_execute_snapshot failed: %s", query.data);
	SPI_freeplan(plan);
	return SPI_processed;
}

/*
 * Return a value from the result of the last statement.  Rows count from 0,
 * columns from 1.
 */
Datum
owner_sql_value(uint64 row, int column, bool *isnull)
{
	Assert(row < SPI_processed);
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
						 column, isnull);
}

/* The same for a value that is known not to be NULL. */
Datum
owner_sql_not_null(uint64 row, int column)
{
	bool		isnull;

	return owner_sql_value(row, column, &isnull);
}
