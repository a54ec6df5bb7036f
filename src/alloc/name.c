/*
 * name.c
 *		The SQL function alloc_key(): keys for callers that have names.
 *
 * The key is a UUID of version 5 (RFC 4122): the SHA-1 hash of a namespace and
 * the name.  So other programs can compute it, too.
 */
#include "postgres.h"

#include "common/cryptohash.h"
#include "common/sha1.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "alloc/alloc.h"

PG_FUNCTION_INFO_V1(alloc_key);

/*
 * The namespace, 5cc39484-92b0-4c1f-8c0e-2f6f0d3b7a61.  It is documented and
 * must not change.
 */
static const uint8 namespace[UUID_LEN] = {
	0x5c, 0xc3, 0x94, 0x84, 0x92, 0xb0, 0x4c, 0x1f,
	0x8c, 0x0e, 0x2f, 0x6f, 0x0d, 0x3b, 0x7a, 0x61
};

/* alloc_key(name) RETURNS uuid */
Datum
alloc_key(PG_FUNCTION_ARGS)
{
	uint8		hash[SHA1_DIGEST_LENGTH];
	pg_cryptohash_ctx *ctx;
	pg_uuid_t  *key = palloc(sizeof(pg_uuid_t));
	char	   *name;
	char	   *utf8;

	require_argument(fcinfo, 0, "name");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	/* a name has one key, whatever the encoding of the database */
	utf8 = pg_server_to_any(name, strlen(name), PG_UTF8);

	ctx = pg_cryptohash_create(PG_SHA1);
	if (ctx == NULL || pg_cryptohash_init(ctx) < 0 ||
		pg_cryptohash_update(ctx, namespace, sizeof(namespace)) < 0 ||
		pg_cryptohash_update(ctx, (const uint8 *) utf8, strlen(utf8)) < 0 ||
		pg_cryptohash_final(ctx, hash, sizeof(hash)) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute a SHA-1 hash: %s",
						ctx == NULL ? "out of memory" :
						pg_cryptohash_error(ctx))));
	pg_cryptohash_free(ctx);

	memcpy(key->data, hash, UUID_LEN);
	/* the version, 5, and the variant of RFC 4122 */
	key->data[6] = (key->data[6] & 0x0f) | 0x50;
	key->data[8] = (key->data[8] & 0x3f) | 0x80;
	PG_RETURN_UUID_P(key);
}
