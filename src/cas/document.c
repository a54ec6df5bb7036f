/*
 * document.c
 *		JSON documents: merge patches, the version inside a document, and
 *		comparisons.
 *
 * Documents are compared by their stored image, byte for byte, as PostgreSQL's
 * operator *= does for records.  1.0 and 1.00 are equal numbers but different
 * documents, and a client that sends the second expects it to be stored.
 *
 * A document may contain its row's version at a path.  The guard sets it on
 * every write, so it is left out of comparisons.
 */
#include "cas.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/numeric.h"

/* Maximum number of names in a path; each takes one level of recursion. */
#define MAX_PATH_LENGTH 100

/*
 * Add a key to the object that is being built.  The key must last until the
 * document is complete.
 */
void
document_push_key(JsonbInState *state, const char *key)
{
	JsonbValue	v;

	v.type = jbvString;
	v.val.string.val = unconstify(char *, key);
	v.val.string.len = strlen(key);
	pushJsonbValue(state, WJB_KEY, &v);
}

/* Complete the object that is being built. */
Jsonb *
document_end(JsonbInState *state)
{
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(state->result);
}

static bool
is_object(const Jsonb *document)
{
	return JB_ROOT_IS_OBJECT(document);
}

static bool
same_bytes(Jsonb *a, Jsonb *b)
{
	return VARSIZE(a) == VARSIZE(b) && memcmp(a, b, VARSIZE(a)) == 0;
}

/* Return whether two values inside documents have the same image. */
bool
document_same_values(JsonbValue *a, JsonbValue *b)
{
	return same_bytes(JsonbValueToJsonb(a), JsonbValueToJsonb(b));
}

/* Return whether a value inside a document is an object. */
static bool
is_object_value(const JsonbValue *value)
{
	return value->type == jbvBinary &&
		JsonContainerIsObject(value->val.binary.data);
}

/* Return the value of a key, or NULL.  object may be NULL. */
static JsonbValue *
lookup(JsonbContainer *object, const JsonbValue *key)
{
	if (object == NULL)
		return NULL;
	return getKeyJsonValueFromContainer(object, key->val.string.val,
										key->val.string.len, NULL);
}

/*
 * Push the merge of two objects.  A NULL target stands for the empty object,
 * which RFC 7396 uses in place of a target that is not an object.
 */
static void
push_merged(JsonbInState *state, JsonbContainer *target,
			JsonbContainer *patch)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	v;
	JsonbValue	key;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();

	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);

	/* first the target's fields that the patch does not mention */
	if (target != NULL)
	{
		bool		keep = false;

		it = JsonbIteratorInit(target);
		while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
		{
			if (token == WJB_KEY)
				keep = lookup(patch, &v) == NULL;
			if (keep && (token == WJB_KEY || token == WJB_VALUE))
				pushJsonbValue(state, token, &v);
		}
	}

	/* then the patch's fields, except nulls, which remove a field */
	it = JsonbIteratorInit(patch);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			key = v;
		else if (token != WJB_VALUE || v.type == jbvNull)
			continue;
		else if (is_object_value(&v))
		{
			JsonbValue *old = lookup(target, &key);

			/* even without such an object in the target, drop the nulls */
			pushJsonbValue(state, WJB_KEY, &key);
			push_merged(state,
						old && is_object_value(old) ?
						old->val.binary.data : NULL,
						v.val.binary.data);
		}
		else
		{
			pushJsonbValue(state, WJB_KEY, &key);
			pushJsonbValue(state, WJB_VALUE, &v);
		}
	}

	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/*
 * Apply a JSON Merge Patch (RFC 7396) to target.
 */
Jsonb *
document_merge(Jsonb *target, Jsonb *patch)
{
	JsonbInState state = {0};

	/* A patch that is not an object replaces the target. */
	if (!is_object(patch))
		return patch;
	push_merged(&state, is_object(target) ? &target->root : NULL,
				&patch->root);
	return JsonbValueToJsonb(state.result);
}

/*
 * Return whether any value of an object is an object.  Only then does the
 * result of merging it depend on the target's values.
 */
bool
document_holds_objects(Jsonb *object)
{
	JsonbIterator *it = JsonbIteratorInit(&object->root);
	JsonbIteratorToken token;
	JsonbValue	v;

	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
		if (token == WJB_VALUE && is_object_value(&v))
			return true;
	return false;
}

/*
 * Return an object with the fields that names has, and the values of document,
 * or null for fields that document lacks.
 */
Jsonb *
document_pick(Jsonb *document, Jsonb *names)
{
	JsonbInState state = {0};
	JsonbIterator *it = JsonbIteratorInit(&names->root);
	JsonbIteratorToken token;
	JsonbValue	v;
	JsonbValue	null = {.type = jbvNull};

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		JsonbValue *found;

		if (token != WJB_KEY)
			continue;
		found = lookup(&document->root, &v);
		pushJsonbValue(&state, WJB_KEY, &v);
		pushJsonbValue(&state, WJB_VALUE, found ? found : &null);
	}
	return document_end(&state);
}

/*
 * Return an object with the fields of new that old does not have with the same
 * value.
 */
Jsonb *
document_changes(Jsonb *old, Jsonb *new)
{
	JsonbInState state = {0};
	JsonbIterator *it = JsonbIteratorInit(&new->root);
	JsonbIteratorToken token;
	JsonbValue	v;
	JsonbValue	key;

	/* A field missing in new stays as it is: a column cannot be removed. */
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		JsonbValue *found;

		if (token == WJB_KEY)
			key = v;
		if (token != WJB_VALUE)
			continue;
		found = lookup(&old->root, &key);
		if (found != NULL &&
			document_same_values(found, &v))
			continue;
		pushJsonbValue(&state, WJB_KEY, &key);
		pushJsonbValue(&state, WJB_VALUE, &v);
	}
	return document_end(&state);
}

pg_noreturn static void
raise_path_blocked(const CasNames *path, int depth)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < depth; i++)
		appendStringInfo(&buf, "%s%s", i > 0 ? "." : "", path->names[i]);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 depth == 0 ?
			 errmsg("payload is not a JSON object") :
			 errmsg("\"%s\" in the payload is not a JSON object", buf.data),
			 errhint("The row's version is stored below it in the payload.")));
}

/*
 * Push object with the version set at the path, of which the first depth names
 * lead to object.  A NULL object stands for the empty one.
 */
static void
push_stamped(JsonbInState *state, JsonbContainer *object,
			 const CasNames *path, int depth, JsonbValue *version)
{
	JsonbValue	key;
	JsonbValue *old;

	check_stack_depth();

	key.type = jbvString;
	key.val.string.val = path->names[depth];
	key.val.string.len = strlen(path->names[depth]);

	/* all other fields are copied */
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	if (object != NULL)
	{
		JsonbIterator *it = JsonbIteratorInit(object);
		JsonbIteratorToken token;
		JsonbValue	v;
		bool		keep = false;

		while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
		{
			if (token == WJB_KEY)
				keep = v.val.string.len != key.val.string.len ||
					memcmp(v.val.string.val, key.val.string.val,
						   key.val.string.len) != 0;
			if (keep && (token == WJB_KEY || token == WJB_VALUE))
				pushJsonbValue(state, token, &v);
		}
	}

	/* the last name gets the version, the others lead to objects */
	pushJsonbValue(state, WJB_KEY, &key);
	if (depth + 1 == path->length)
		pushJsonbValue(state, WJB_VALUE, version);
	else
	{
		/* do not replace a value that the client has sent */
		old = lookup(object, &key);
		if (old != NULL && !is_object_value(old))
			raise_path_blocked(path, depth + 1);
		push_stamped(state, old ? old->val.binary.data : NULL, path,
					 depth + 1, version);
	}
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/*
 * Return the document with the version set at the path, as a JSON string or a
 * number.  Missing objects on the path are created.  Raise 22023 if a value on
 * the path is not an object.
 */
Jsonb *
document_stamp(Jsonb *document, const CasNames *path, int64 version,
			   bool as_string)
{
	JsonbInState state = {0};
	JsonbValue	v;

	/* there is no place for the version in an array or a scalar */
	if (!is_object(document))
		raise_path_blocked(path, 0);
	if (as_string)
	{
		v.type = jbvString;
		v.val.string.val = psprintf(INT64_FORMAT, version);
		v.val.string.len = strlen(v.val.string.val);
	}
	else
	{
		v.type = jbvNumeric;
		v.val.numeric = int64_to_numeric(version);
	}
	push_stamped(&state, &document->root, path, 0, &v);
	return JsonbValueToJsonb(state.result);
}

/* Return whether the version could be set at the path in the document. */
static bool
path_fits(Jsonb *document, const CasNames *path)
{
	JsonbContainer *object = &document->root;

	if (!is_object(document))
		return false;
	for (int i = 0; i + 1 < path->length; i++)
	{
		JsonbValue *v = getKeyJsonValueFromContainer(object, path->names[i],
													 strlen(path->names[i]),
													 NULL);

		/* What is missing will be created. */
		if (v == NULL)
			return true;
		if (!is_object_value(v))
			return false;
		object = v->val.binary.data;
	}
	return true;
}

/*
 * Return whether two documents are the same, not counting the value at the
 * path.  A document in which the path cannot be created never compares equal.
 */
bool
document_same(Jsonb *a, Jsonb *b, const CasNames *path)
{
	/* mostly they are identical, and need not be stamped */
	if (same_bytes(a, b))
		return true;
	if (path->length == 0)
		return false;
	if (!path_fits(a, path) || !path_fits(b, path))
		return false;

	/* set the same value at the path in both */
	return same_bytes(document_stamp(a, path, 0, false),
					  document_stamp(b, path, 0, false));
}

/*
 * Return whether two column values have the same image.
 */
bool
datum_same(Datum a, bool a_isnull, Datum b, bool b_isnull, bool typbyval,
		   int16 typlen)
{
	if (a_isnull || b_isnull)
		return a_isnull && b_isnull;

	/* the same value, or the same pointer */
	if (a == b)
		return true;

	/*
	 * If an UPDATE does not set a large column, both rows have the same TOAST
	 * pointer.  Then the values are equal and need not be fetched.
	 */
	if (typlen == -1 &&
		VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(a)) &&
		VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(b)) &&
		memcmp(DatumGetPointer(a), DatumGetPointer(b),
			   VARSIZE_EXTERNAL(DatumGetPointer(a))) == 0)
		return true;
	return datum_image_eq(a, b, typbyval, typlen);
}

/* Convert a text array to a path. */
CasNames
cas_path_from_array(Datum array)
{
	CasNames	path;
	Datum	   *elements;
	bool	   *nulls;
	ArrayType  *arr = DatumGetArrayTypeP(array);

	deconstruct_array(arr, TEXTOID, -1, false, TYPALIGN_INT, &elements,
					  &nulls, &path.length);

	/* push_stamped() recurses once for each name */
	if (path.length > MAX_PATH_LENGTH)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("path is longer than %d names", MAX_PATH_LENGTH)));
	path.names = palloc(sizeof(char *) * Max(path.length, 1));
	for (int i = 0; i < path.length; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("path must not contain nulls")));
		path.names[i] = TextDatumGetCString(elements[i]);
	}
	return path;
}
