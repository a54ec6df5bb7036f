/*
 * calls.h
 *		The functions of this folder that its files call, by file.
 *
 * Included by alloc.h only.
 */
#ifndef PG_CAS_ALLOC_CALLS_H
#define PG_CAS_ALLOC_CALLS_H

/* pool.c */
extern bool pool_shows(Oid owner, ArrayType *grantees);
extern Pool *pool_find(Oid nsp, const char *name, PoolRight right);
extern Pool *pool_open(Oid nsp, const char *name, PoolRight right);
extern Pool *pool_read(Oid nsp, const char *name, Snapshot snapshot);
extern void pool_require_values(const Pool *pool);
pg_noreturn extern void raise_no_pool(const char *name);
extern bool pool_use(PoolUse *use, Oid nsp, const char *name,
					 PoolRight right);
extern bool pool_use_again(PoolUse *use);
extern bool pool_lock(PoolUse *use, LOCKMODE mode);
extern bool pool_lock_patiently(PoolUse *use, LOCKMODE mode,
								const Patience *patience);
extern bool pool_lock_to_take(PoolUse *use, LOCKMODE mode,
							  const Patience *patience);
extern bool pool_lock_at_once(PoolUse *use, LOCKMODE mode);
extern bool pool_lock_to_take_at_once(PoolUse *use, LOCKMODE mode);
extern void pool_unlock(PoolUse *use);

/* relation.c: all tables, in the order in which they are locked */
#define ALLOC_TABLES 10

extern const AllocRelation alloc_tables[ALLOC_TABLES];
extern Oid	alloc_namespace(FunctionCallInfo fcinfo);
extern Oid	alloc_relation(Oid nsp, AllocRelation which);

/* cache.c */
extern Pool *cache_get(Oid nsp, const char *name);
extern Pool *cache_read(Oid nsp, const char *name, Snapshot snapshot);

/* kind.c */
extern const char *const *kind_words(void);
extern const char *kind_name(PoolKind kind);
extern const char *kind_example(PoolKind kind);
extern bool kind_find(const char *name, PoolKind *kind);
extern PoolKind kind_of_name(const char *name);
extern bool kind_has_ports(PoolKind kind);
extern ValueColumn kind_column(PoolKind kind);
extern bool kind_is_counted(PoolKind kind);
extern bool kind_is_mixed(PoolKind kind, int port_chunk);
extern RequestKind kind_request(PoolKind kind);
extern const char *kind_family_name(PoolKind kind, int width);
extern int	kind_family(PoolKind kind, int width);
extern bool kind_find_width(PoolKind kind, int code, int *width);
extern int	kind_width(PoolKind kind, int code);
extern bool kind_admits(PoolKind kind, int width, u128 first, u128 last);
extern Datum address_datum(int width, u128 value, int masklen);
extern u128 address_value(Datum address, int *width, int *masklen);
extern Datum macaddr_datum(u128 value);
extern u128 macaddr_value(Datum address);
extern Datum macaddr8_datum(u128 value);
extern u128 macaddr8_value(Datum address);
extern Datum kind_macaddr8(PoolKind kind, u128 value);

/* text.c */
extern void range_parse(PoolKind kind, const char *text, bool whole,
						int *width, u128 *first, u128 *last);
extern void unit_parse(const Pool *pool, const char *text, u128 *value,
					   u128 *last, int *first_port, int *last_port);
extern bool ports_parse(const char *text, int *first, int *last);
extern char *ports_split(const Pool *pool, char *text, int *first, int *last);
extern char *value_text(PoolKind kind, int width, u128 value);
extern char *range_text(PoolKind kind, int width, u128 first, u128 last);
extern char *unit_text(const Pool *pool, u128 lo, int order);
extern int	unit_masklen(const Pool *pool, int order);

/* ports.c */
extern void ports_check(Datum range, const char *name);
extern void ports_check_array(ArrayType *ranges, const char *name);
extern void ports_exclude(uint64 *chunks, Datum range, int port_chunk);
extern void ports_exclude_array(uint64 *chunks, ArrayType *ranges,
								int port_chunk);
extern uint64 *ports_new(int port_chunk);

/* number.c */
extern Datum u128_numeric(u128 n);
extern u128 numeric_u128(Datum numeric);
extern Datum queue_place_of_slot(u128 slot);
extern Datum queue_place_of_time(TimestampTz ready_at);

/* store.c */
extern void store_open(Store *store, Oid nsp, LOCKMODE mode);
extern void store_close(Store *store);
extern bool store_insert(Store *store, const Pool *pool, SlotRow *row);
extern TM_Result store_update(Store *store, const Pool *pool, SlotRow *row,
							  bool new_key, bool undisturbed);
extern TM_Result store_delete(Store *store, const SlotRow *row);

/* freed.c */
extern void freed_open(Store *store);
extern void freed_scan_begin(SlotScan *scan, Store *store, const Pool *pool,
							 Extent slots);
extern bool freed_scan_next(SlotScan *scan, FreedRow *row);
extern void freed_insert(Store *store, const Pool *pool, Extent slots);
extern bool freed_delete(Store *store, const FreedRow *row);
extern void freed_remove(Store *store, const Pool *pool, Extent slots);
extern TM_Result store_free(Store *store, const Pool *pool,
							const SlotRow *row);

/* past.c */
extern void store_lock_history(const Store *store);
extern void store_history(Store *store, const Pool *pool, const SlotRow *row,
						  TimestampTz ended_at, const char *reason);
extern int64 store_next_generation(Store *store);
extern void store_draw_generations(Store *store, int n);
extern void store_drop_generations(Store *store);

/* block.c */
extern void block_scan_begin(BlockScan *scan, Store *store, const Pool *pool,
							 Extent slots, Snapshot snapshot);
extern bool block_scan_next(BlockScan *scan, SlotRow *row);
extern void block_scan_end(BlockScan *scan);
extern BlockState row_state(const SlotRow *row, TimestampTz now);
extern BlockState block_state(Search *search, u128 lo, int order, bool sweep,
							  SlotRow *worst);
extern BlockState extent_state(Search *search, Extent slots, bool sweep,
							   SlotRow *worst);
extern bool slots_in_use(Store *store, const Pool *pool, Extent slots);
extern SlotRow *make_unit(Search *search, u128 lo);
extern bool put_unit(Search *search, u128 lo);
extern bool take_block(Search *search, u128 lo, SlotRow *worst);
extern bool take_row(Search *search, const SlotRow *row);
extern bool random_slot(const Search *search, u128 *slot);

/* key.c */
extern void key_require_writing(const char *function);
extern bool key_enter_patiently(PoolUse *use, const pg_uuid_t *key,
								LOCKMODE mode, const Patience *patience);
extern void key_enter(PoolUse *use, const pg_uuid_t *key, LOCKMODE mode);
extern bool key_enter_at_once(PoolUse *use, const pg_uuid_t *key);
extern void key_leave(PoolUse *use, const pg_uuid_t *key);
extern uint32 key_hash(const pg_uuid_t *key);
extern bool key_lock_at_once(const PoolUse *use, const pg_uuid_t *key);
extern void key_unlock(const PoolUse *use, const pg_uuid_t *key);
extern KeyState key_look_on(SlotScan *scan, TimestampTz now, SlotRow *row,
							int *key_row);
extern void key_lock_set(const pg_uuid_t *key);
extern void key_unlock_set(const pg_uuid_t *key);
extern void key_enter_both(PoolUse *use, const pg_uuid_t *key,
						   const pg_uuid_t *other);
extern void key_leave_both(PoolUse *use, const pg_uuid_t *key,
						   const pg_uuid_t *other);
extern KeyState key_look(Store *store, const Pool *pool, const pg_uuid_t *key,
						 TimestampTz now, SlotRow *row, int *key_row);
extern bool key_read_at(Store *store, const Pool *pool, const pg_uuid_t *key,
						Snapshot snapshot, SlotRow *unit);
extern bool key_read(Store *store, const Pool *pool, const pg_uuid_t *key,
					 SlotRow *unit);
extern void key_wait(const SlotRow *row, const char *function);
extern void key_check_snapshot(Store *store, const Pool *pool,
							   const pg_uuid_t *key, const SlotRow *row,
							   TimestampTz now);
extern void key_check_block_snapshot(Search *search, const SlotRow *row);
extern char *uuid_text(const pg_uuid_t *key);

/* resolve.c */
extern void resolve_require_counted(const Pool *pool, const char *function);
extern void resolve_request(const Pool *pool, Request *request);
extern bool resolve_is_same(const Request *request, const SlotRow *unit);
extern bool resolve_is_open(const Request *request, const SlotRow *unit);
extern char *resolve_text(const Pool *pool, const Request *request);
extern void resolve_check_size(const Pool *pool, const Request *request);

/* unit.c */
pg_noreturn extern void raise_stuck(const Pool *pool, const pg_uuid_t *key,
									const char *function,
									const SlotRow *row, int rounds);
extern Outcome unit_take(Search *search, int round);
extern bool unit_try(Store *store, PoolUse *use, Request *request, int round,
					 Answer *answer);

/* hold.c */
extern void unit_check_generation(const Pool *pool, const SlotRow *unit,
								  const int64 *generation);
extern bool unit_hold(Store *store, PoolUse *use, const pg_uuid_t *key,
					  const char *function, SlotRow *unit);
extern void unit_wait(Store *store, const Pool *pool, const SlotRow *unit,
					  const char *function, int *idle);
pg_noreturn extern void raise_no_unit(const PoolUse *use,
									  const pg_uuid_t *key);
pg_noreturn extern void raise_lost(const Store *store, const PoolUse *use,
								   const SlotRow *unit, const char *function);
extern void unit_allocate(Store *store, PoolUse *use, Request *request,
						  Answer *answer);
extern bool unit_release(Store *store, PoolUse *use, const pg_uuid_t *key,
						 const int64 *generation, Interval *cooldown);
extern void unit_renew(Store *store, PoolUse *use, const pg_uuid_t *key,
					   Interval *ttl, const int64 *generation, SlotRow *unit);

#endif							/* PG_CAS_ALLOC_CALLS_H */
