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
 * A conversion function to call.  The cached one keeps what it knows of the
 * type, and for a domain what it is just checking.  While it runs, a CHECK may
 * come back to us; then it must not be disturbed, and we take a copy.
 */
FmgrInfo *
cas_conversion(FmgrInfo *cached, bool busy, FmgrInfo *copy)
{
	if (!busy)
		return cached;
	fmgr_info_copy(copy, cached, CurrentMemoryContext);
	return copy;
}

/*
 * Prepare the conversion of JSON objects to rows.  jsonb_populate_record()
 * takes the row type from the call's expression and keeps what it learns of
 * it in the FmgrInfo.  It is given a row of NULLs to start from, since it
 * checks domains on what it makes up itself, even on columns nobody named.
 */
void
cas_load_populate(CasTable *table)
{
	Datum	   *values = palloc0(sizeof(Datum) * table->desc->natts);
	bool	   *nulls = palloc(sizeof(bool) * table->desc->natts);
	Node	   *call;

	call = (Node *) makeFuncExpr(F_JSONB_POPULATE_RECORD, table->rowtype,
								 list_make2(makeNullConst(table->rowtype, -1,
														  InvalidOid),
											makeNullConst(JSONBOID, -1,
														  InvalidOid)),
								 InvalidOid, InvalidOid,
								 COERCE_EXPLICIT_CALL);
	fmgr_info(F_JSONB_POPULATE_RECORD, &table->populate);
	fmgr_info_set_expr(call, &table->populate);

	memset(nulls, true, sizeof(bool) * table->desc->natts);
	table->empty_row = heap_copy_tuple_as_datum(heap_form_tuple(table->desc,
																values,
																nulls),
												table->desc);
}

/*
 * Turn a JSON object into column values: those it names have its values, the
 * others are NULL.  Names that are no columns are passed over.  The arrays
 * have room for all columns of the table.
 */
void
cas_populate(CasTable *table, Jsonb *object, Datum *values, bool *nulls)
{
	bool		busy = table->populating;
	FmgrInfo	copy;
	volatile Datum row = 0;
	HeapTupleHeader header;
	HeapTupleData tuple;

	PG_TRY();
	{
		table->populating = true;
		row = FunctionCall2(cas_conversion(&table->populate, busy, &copy),
							table->empty_row, JsonbPGetDatum(object));
	}
	PG_FINALLY();
	{
		table->populating = busy;
	}
	PG_END_TRY();
	header = DatumGetHeapTupleHeader(row);
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	heap_deform_tuple(&tuple, table->desc, values, nulls);
}
