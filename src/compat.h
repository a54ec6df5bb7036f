/*
 * compat.h
 *		The only place that knows PostgreSQL's major versions.
 *
 * The code is written against the newest API; what an older server lacks is
 * supplied here under the newer name.
 */
#ifndef PG_CAS_COMPAT_H
#define PG_CAS_COMPAT_H

#include "access/xact.h"
#include "utils/acl.h"

#if PG_VERSION_NUM < 150000
#error "pg_cas needs PostgreSQL 15 or later"
#endif

#if PG_VERSION_NUM < 160000
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"

/* PostgreSQL 16 made one function of the many pg_xxx_ownercheck() ones. */
static inline bool
object_ownercheck(Oid classid, Oid objectid, Oid roleid)
{
	Assert(classid == RelationRelationId);
	return pg_class_ownercheck(objectid, roleid);
}

/* Likewise of pg_xxx_aclcheck(). */
static inline AclResult
object_aclcheck(Oid classid, Oid objectid, Oid roleid, AclMode mode)
{
	if (classid == NamespaceRelationId)
		return pg_namespace_aclcheck(objectid, roleid, mode);
	Assert(classid == ProcedureRelationId);
	return pg_proc_aclcheck(objectid, roleid, mode);
}

/* PostgreSQL 16 tells membership from the right to SET ROLE. */
#define check_can_set_role(member, role) check_is_member_of_role(member, role)
#endif

/* Early minor releases leave a pipelined statement to the pipeline's end. */
#ifndef XACT_FLAGS_NEEDIMMEDIATECOMMIT
#define XACT_FLAGS_NEEDIMMEDIATECOMMIT 0
#endif

#endif							/* PG_CAS_COMPAT_H */
