/*
 * usage.c
 *		Privileges on objects that a caller names by OID.
 *
 * SQL finds an object by its name, and for that requires USAGE on its schema.
 * An argument of type regclass or regprocedure may be a number, so functions
 * that take one must check the schema themselves.
 */
#include "base/base.h"

#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"

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

/*
 * Raise 42501 unless the current role may call the function by its name.
 */
void
require_callable(Oid function)
{
	require_schema_usage(get_func_namespace(function));
	require_execute(function);
}
