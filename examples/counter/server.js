// A counter behind HTTP, and the transaction that a cancelled request leaves
// open.
//
//     node server.js plain | pg_cas [port]
//
//     POST /reset      makes the table, with the counter at 1
//     GET  /counter    the counter
//     POST /bump       adds 1; 204 means that it is done
//     GET  /sleep      opens a transaction, sleeps 5 s (?seconds=), commits
//
// The database is that of libpq's environment: PGHOST, PGDATABASE, ...  With
// pg_cas the extension has to be there.
//
// The pool has one connection.  When the client of /sleep goes away, its
// handler is cancelled, as frameworks do it; nothing commits or rolls back, and
// the connection goes back to the pool inside the open transaction.  From then
// on, run as "plain", every bump is answered with 204, every read sees it, and
// all of them are gone when the process ends.
//
// That leak is left in.  Run as "pg_cas", the one difference is checkOut().
import http from 'node:http';
import { randomUUID } from 'node:crypto';
import pg from 'pg';

const protect = { plain: false, pg_cas: true }[process.argv[2]];
if (protect === undefined) {
	console.error('usage: node server.js plain | pg_cas [port]');
	process.exit(1);
}

const pool = new pg.Pool({ max: 1 });

// A connection that the server closes is replaced by the pool.
pool.on('connect', (client) => client.on('error', () => {}));
pool.on('error', (error) => console.error(`idle connection: ${error.message}`));

// A connection that is not inside anybody's transaction, for the request that
// the token stands for.
//
// Two claims in two statements are two transactions, unless the connection is
// inside one that was left open: then they are a leak, whoever left it.  The
// server ends the connection (pg_cas.on_leak = 'fatal'), which rolls the lost
// transaction back, and the pool makes another one.  The setting stays, for the
// writes to the guarded table that come later.
async function checkOut(token) {
	for (;;) {
		const client = await pool.connect();
		try {
			await client.query("SELECT request_claim('check-out')");
			await client.query(
				"SELECT set_config('pg_cas.request', $1, false), request_claim($1)",
				[token]);
			return client;
		} catch (error) {
			client.release(error);
			if (error.code !== '25001') throw error;
			console.error(`replaced a connection: ${error.message} ${error.detail}`);
		}
	}
}

// Run the handler with a connection's query function.  When the request is
// cancelled, the handler does not get past its present query.
async function withConnection(signal, handler) {
	const client = protect ? await checkOut(randomUUID()) : await pool.connect();
	let broken;
	try {
		return await handler(async (sql, values) => {
			signal.throwIfAborted();
			const cancelled = new Promise((_, reject) =>
				signal.addEventListener('abort', () => reject(signal.reason)));
			const result = client.query(sql, values);
			result.catch((error) => { broken = error; });
			return await Promise.race([result, cancelled]);
		});
	} finally {
		// What is forgotten here is ROLLBACK.
		client.release(broken);
	}
}

const handlers = {
	'POST /reset': async (query) => {
		await query('DROP TABLE IF EXISTS counter');
		await query('CREATE TABLE counter (id int PRIMARY KEY, n int NOT NULL)');
		await query('INSERT INTO counter VALUES (1, 1)');
		if (protect) await query("SELECT cas_enable('counter')");
	},
	'GET /counter': async (query) => {
		const { rows } = await query('SELECT n FROM counter');
		return String(rows[0].n);
	},
	'POST /bump': async (query) => {
		await query('UPDATE counter SET n = n + 1');
	},
	'GET /sleep': async (query, parameters) => {
		await query('BEGIN');
		await query('SELECT pg_sleep($1)', [parameters.get('seconds') ?? 5]);
		await query('COMMIT');
	},
};

const server = http.createServer(async (request, response) => {
	const url = new URL(request.url, 'http://localhost');
	const handler = handlers[`${request.method} ${url.pathname}`];
	const cancel = new AbortController();

	response.on('close', () => cancel.abort());
	try {
		if (!handler) {
			response.writeHead(404).end();
			return;
		}
		const body = await withConnection(cancel.signal,
			(query) => handler(query, url.searchParams));
		response.writeHead(body === undefined ? 204 : 200).end(body);
	} catch (error) {
		if (!cancel.signal.aborted) {
			response.writeHead(503).end(`${error.code ?? ''} ${error.message}\n`);
		}
	}
});

server.listen(Number(process.argv[3] ?? 8080), '127.0.0.1', () =>
	console.log(`listening on port ${server.address().port}`));
process.on('SIGTERM', () => process.exit(0));
