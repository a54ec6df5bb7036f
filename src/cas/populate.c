/*
 * populate.c
 *		What makes rows of JSON objects.
 */
#include "cas.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

/*
 * A row of NULLs, for jsonb_populate_record() to start from: it checks
 * domains on what it makes up itself, even on columns nobody named.
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
 * Turn a JSON object into column values: those it names have its values, the
 * others are NULL.  Names that are no columns are passed over.  The arrays
 * have room for all columns of the table.
 *
 * jsonb_populate_record() takes the row type from the call's expression.  What
 * it learns of that and of the domains in it, it keeps in the FmgrInfo, which
 * therefore is this call's alone: the types may be altered any time after,
 * and an error leaves it half filled.
 */
void
cas_populate(CasTable *table, Jsonb *object, Datum *values, bool *nulls)
{
	Node	   *row = (Node *) makeNullConst(table->rowtype, -1, InvalidOid);
	Node	   *json = (Node *) makeNullConst(JSONBOID, -1, InvalidOid);
	FmgrInfo	populate;
	HeapTupleHeader header;
	HeapTupleData tuple;

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
