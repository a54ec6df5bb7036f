/*
 * object.c
 *		Relations and functions that a caller names by OID.
 *
 * An argument of type regclass or regprocedure may be any number, so there may
 * be no such object, or it may be dropped at any time.  And SQL, which finds an
 * object by its name, has not required USAGE on the object's schema: functions
 * that take an OID must check that themselves.
 */
#include "base/base.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_language.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

/*
 * Raise 42501 unless the current role has USAGE on the schema.
 */
void
require_schema_usage(Oid schema)
{
	AclResult	result = object_aclcheck(NamespaceRelationId, schema,
										 GetUserId(), ACL_USAGE);

	/* the name is NULL if the schema has been dropped meanwhile */
	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_SCHEMA, get_namespace_name(schema));
}

/*
 * Relations
 */

/* Raise 42P01. */
void
raise_no_relation(Oid relid)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 errmsg("relation with OID %u does not exist", relid)));
}

/*
 * Return a name, qualified, and quoted where necessary, whatever the session
 * has set quote_all_identifiers to: programs compare the names in a DETAIL.
 */
char *
quoted_name(const char *schema, const char *name)
{
	bool		quote_all = quote_all_identifiers;
	char	   *quoted;

	quote_all_identifiers = false;
	PG_TRY();
	{
		quoted = quote_qualified_identifier(schema, name);
	}
	PG_FINALLY();
	{
		quote_all_identifiers = quote_all;
	}
	PG_END_TRY();
	return quoted;
}

/*
 * A relation's name, qualified and quoted; raises 42P01 if it has been
 * dropped.
 */
char *
qualified_name(Oid relid)
{
	char	   *schema = get_namespace_name(get_rel_namespace(relid));
	char	   *name = get_rel_name(relid);

	if (schema == NULL || name == NULL)
		raise_no_relation(relid);
	return quoted_name(schema, name);
}

/*
 * Raise 42501 unless the current role owns the relation.
 */
void
require_relation_owner(Oid relid)
{
	char		relkind = get_rel_relkind(relid);
	char	   *name = get_rel_name(relid);

	if (relkind == '\0' || name == NULL)
		raise_no_relation(relid);
	if (!object_ownercheck(RelationRelationId, relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(relkind), name);
}

/*
 * Open and lock a relation that the current role owns; raises 42501 if it does
 * not.
 */
Relation
open_as_owner(Oid relid, LOCKMODE lockmode)
{
	Relation	rel;

	/*
	 * Check the owner first, so that nobody can make others wait for a lock on
	 * a table of somebody else.  The owner may change while we wait, so check
	 * again.
	 */
	require_relation_owner(relid);
	rel = try_relation_open(relid, lockmode);
	if (rel == NULL)
		raise_no_relation(relid);
	require_relation_owner(relid);
	return rel;
}

/*
 * Functions
 */

/*
 * Raise 42501 unless the current role has EXECUTE on the function.  For a cast
 * this is all that PostgreSQL requires.
 */
void
require_execute(Oid function)
{
	AclResult	result = object_aclcheck(ProcedureRelationId, function,
										 GetUserId(), ACL_EXECUTE);

	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_FUNCTION, get_func_name(function));
}

/* Return whether the path is that of this extension's library. */
static bool
is_own_library(const char *path)
{
	const char *name = last_dir_separator(path);

	name = name != NULL ? name + 1 : path;
	return strcmp(name, "pg_cas") == 0 || strcmp(name, "pg_cas.so") == 0;
}

/*
 * Return the name of the C function of ours that an SQL function calls, or
 * NULL.
 *
 * This reads pg_proc, because the owner may have added a SET clause or
 * SECURITY DEFINER to the function, and fmgr_info() returns a wrapper for such
 * functions.
 */
char *
own_function(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Datum		source;
	Datum		library;
	bool		isnull;
	char	   *name = NULL;

	if (!HeapTupleIsValid(tuple))
		return NULL;
	if (((Form_pg_proc) GETSTRUCT(tuple))->prolang == ClanguageId)
	{
		library = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_probin,
								  &isnull);
		if (!isnull && is_own_library(TextDatumGetCString(library)))
		{
			source = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc,
									 &isnull);
			name = isnull ? NULL : TextDatumGetCString(source);
		}
	}
	ReleaseSysCache(tuple);
	return name;
}

/* Is it a function of so many arguments jsonb that returns one jsonb? */
static bool
is_jsonb_function(Form_pg_proc proc, int nargs)
{
	if (proc->prokind != PROKIND_FUNCTION || proc->proretset ||
		proc->prorettype != JSONBOID || proc->pronargs != nargs)
		return false;
	for (int i = 0; i < nargs; i++)
	{
		if (proc->proargtypes.values[i] != JSONBOID)
			return false;
	}
	return true;
}

/*
 * Prepare to call a function of nargs arguments jsonb that returns jsonb.
 * Raises 42883 if there is no such function, 42501 unless the current role may
 * call it, and 22023 unless it has that signature; for the message, the caller
 * says what it is to do, and how it must be declared.
 */
void
require_jsonb_function(Oid function, int nargs, const char *purpose,
					   const char *declaration)
{
	HeapTuple	tuple;
	bool		fits;

	/*
	 * Callers check a function again after a wait.  To wait for a row or a
	 * transaction does not read the messages that tell of its change.
	 */
	AcceptInvalidationMessages();
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function with OID %u does not exist", function)));
	fits = is_jsonb_function((Form_pg_proc) GETSTRUCT(tuple), nargs);
	ReleaseSysCache(tuple);
	/* as to call it by its name */
	require_schema_usage(get_func_namespace(function));
	require_execute(function);
	if (!fits)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("function %s cannot %s", format_procedure(function),
						purpose),
				 errhint("It must be a function %s.", declaration)));

	/* as the executor does before it calls a function */
	InvokeFunctionExecuteHook(function);
}
