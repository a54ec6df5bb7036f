/*
 * name.c
 *		Names of resources and leases.
 */
#include "lock.h"

#include "common/hashfn.h"
#include "miscadmin.h"

/*
 * Compare names by their bytes, which is the order of the indexes (collation
 * C).
 */
int
names_compare(Datum left, Datum right)
{
	text	   *a = DatumGetTextPP(left);
	text	   *b = DatumGetTextPP(right);
	int			alen = VARSIZE_ANY_EXHDR(a);
	int			blen = VARSIZE_ANY_EXHDR(b);
	int			order = memcmp(VARDATA_ANY(a), VARDATA_ANY(b),
							   Min(alen, blen));

	return order != 0 ? order : alen - blen;
}

/*
 * Check the length of a name, and return it detoasted.  Raises 22023 if it is
 * empty or too long.
 */
Datum
names_checked(Datum name, const char *argument)
{
	text	   *value = DatumGetTextPP(name);
	int			len = VARSIZE_ANY_EXHDR(value);

	if (len == 0 || len > MAX_RESOURCE_NAME)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid name in argument \"%s\"", argument),
				 errhint("A name has 1 to %d bytes.", MAX_RESOURCE_NAME)));
	return PointerGetDatum(value);
}

/*
 * A name's hash, which identifies the name's locks and its remembered place.
 */
uint64
names_hash(Datum name)
{
	text	   *value = DatumGetTextPP(name);

	return hash_bytes_extended((const unsigned char *) VARDATA_ANY(value),
							   VARSIZE_ANY_EXHDR(value), 0);
}

/*
 * Build the tag of the heavyweight lock of the given class, for the name with
 * this hash.  Names with the same hash wait for each other for a short time;
 * nothing else depends on the hash.
 */
void
names_locktag(LOCKTAG *tag, uint64 hash, uint16 lock_class)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId,
						 (uint32) (hash >> 32), (uint32) hash, lock_class);
}
