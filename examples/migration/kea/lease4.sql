-- Kea's table of DHCPv4 leases in PostgreSQL, as pg_dump writes it.
CREATE TABLE public.lease4 (
    address bigint NOT NULL,
    hwaddr bytea,
    client_id bytea,
    valid_lifetime bigint,
    expire timestamp with time zone,
    subnet_id bigint,
    fqdn_fwd boolean,
    fqdn_rev boolean,
    hostname character varying(255),
    state bigint DEFAULT 0,
    user_context text,
    relay_id bytea,
    remote_id bytea,
    pool_id bigint DEFAULT 0 NOT NULL
);

COPY public.lease4 (address, hwaddr, client_id, valid_lifetime, expire, subnet_id, fqdn_fwd, fqdn_rev, hostname, state, user_context, relay_id, remote_id, pool_id) FROM stdin;
170524682	\\x020000004210	\\x01020000004210	3600	2099-01-01 00:00:00+00	3	f	f	scanner	0	\N	\N	\N	0
170524683	\\x020000004211	\N	3600	2099-01-01 00:00:00+00	3	f	f		0	{ "floor": 3 }	\N	\N	0
170524684	\\x020000004212	\N	3600	2023-11-14 22:13:20+00	3	f	f	gone	0	\N	\N	\N	0
170524685	\\x	\N	86400	2099-01-01 00:00:00+00	3	f	f		1	\N	\N	\N	0
170524686	\\x020000004214	\N	3600	2023-11-14 22:13:20+00	3	f	f		2	\N	\N	\N	0
170524687	\\x020000004216	\N	4294967295	2023-11-14 22:13:20+00	3	f	f	camera	0	\N	\N	\N	0
4294967295	\\x020000004215	\N	4294967295	2099-01-01 00:00:00+00	3	f	f	outside	0	\N	\N	\N	0
\.

ALTER TABLE ONLY public.lease4
    ADD CONSTRAINT lease4_pkey PRIMARY KEY (address);
