/*
 * settinglist.h
 *		All settings, a row each.
 *
 * A row makes the variable pg_cas_NAME (settings.h declares it) and the
 * setting pg_cas.NAME, which the view pg_cas_settings shows:
 *
 *		SETTING(type of the variable, member of struct Setting that points to
 *				it, name, other members of struct Setting ...)
 *
 * The options of a choice are an array in pg_cas.c: leak_actions for on_leak.
 *
 * docs/rows.md has a row for each setting, too; the test 012_reference compares
 * them.
 *
 * There is no #ifndef here, since the file is included with more than one
 * definition of SETTING.
 */

SETTING(bool, boolean, log_conflicts,
		.meaning = "Writes a line to the server log for every conflict.",
		.details = "Conflicts answered by the try forms are included.",
		.context = PGC_SUSET)

SETTING(bool, boolean, conflict_lock,
		.meaning = "Locks the row that a try form answers a conflict with.",
		.details = "If off, the answer has the row as last committed, and nothing is written for it.",
		.boot = true,
		.context = PGC_USERSET)

/* for tests and benchmarks: the results do not depend on it */
SETTING(bool, boolean, direct_path,
		.meaning = "Lets swaps of plain tables go past the executor.",
		.boot = true,
		.context = PGC_USERSET,
		.flags = GUC_NOT_IN_SAMPLE)

SETTING(char *, string, request,
		.meaning = "The request that the session works for.",
		.details = "While it is set, every function of pg_cas and every write to a guarded table claims the transaction for it.",
		.context = PGC_USERSET,
		.claims = true)

SETTING(int, choice, on_leak,
		.meaning = "What happens when a transaction is claimed by a second request.",
		.options = leak_actions,
		.boot = LEAK_FATAL,
		.context = PGC_USERSET,
		.claims = true)

SETTING(bool, boolean, require_autocommit,
		.meaning = "Keeps the writers of pg_cas out of transaction blocks.",
		.context = PGC_USERSET)

SETTING(char *, string, owner,
		.meaning = "The role that owns the pools, leases and scopes that the session makes.",
		.details = "The session's role must be a member of it. If empty, it is the current role.",
		.context = PGC_USERSET)

SETTING(int, integer, request_retention,
		.meaning = "How long the results of requests are kept.",
		.details = "0 keeps none, -1 keeps all.",
		.boot = 7 * SECS_PER_DAY,
		.min = -1,
		.max = INT_MAX,
		.context = PGC_SUSET,
		.flags = GUC_UNIT_S)

SETTING(int, integer, history_retention,
		.meaning = "How long the history of allocations is kept.",
		.details = "0 keeps none, -1 keeps all.",
		.boot = 90 * SECS_PER_DAY,
		.min = -1,
		.max = INT_MAX,
		.context = PGC_SUSET,
		.flags = GUC_UNIT_S)
