/*
 * populate.c
 *		Convert JSON objects to column values.
 */
#include "cas.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

/*
 * Return a row of NULLs to pass to jsonb_populate_record().  If that function
 * creates the row itself, it checks domains of all columns, also of those that
 * the object does not name.
 */
static Datum
empty_row(TupleDesc desc)
{
	Datum	   *values = palloc0(sizeof(Datum) * desc->natts);
	bool	   *nulls = palloc(sizeof(bool) * desc->natts);

	memset(nulls, true, sizeof(bool) * desc->natts);
	return heap_copy_tuple_as_datum(heap_form_tuple(desc, values, nulls),
									desc);
}

/*
 * Convert a JSON object to column values.  Columns that the object does not
 * name are NULL; names that are not columns are ignored.  The arrays must have
 * room for all columns of the table.
 */
void
cas_populate(CasTable *table, Jsonb *object, Datum *values, bool *nulls)
{
	Node	   *row = (Node *) makeNullConst(table->rowtype, -1, InvalidOid);
	Node	   *json = (Node *) makeNullConst(JSONBOID, -1, InvalidOid);
	FmgrInfo	populate;
	HeapTupleHeader header;
	HeapTupleData tuple;

	/*
	 * jsonb_populate_record() takes the row type from the call's expression,
	 * and caches what it finds out about the type and its domains in the
	 * FmgrInfo.  Do not reuse that: the types may be altered later, and an
	 * error leaves the cache incomplete.
	 */
	fmgr_info(F_JSONB_POPULATE_RECORD, &populate);
	fmgr_info_set_expr((Node *) makeFuncExpr(F_JSONB_POPULATE_RECORD,
											 table->rowtype,
											 list_make2(row, json),
											 InvalidOid, InvalidOid,
											 COERCE_EXPLICIT_CALL),
					   &populate);
	header = DatumGetHeapTupleHeader(FunctionCall2(&populate,
												   empty_row(table->desc),
												   JsonbPGetDatum(object)));
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	heap_deform_tuple(&tuple, table->desc, values, nulls);
}
