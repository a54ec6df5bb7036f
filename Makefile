# pg_cas: build, install and test on PGXS.
#
#   make && make install     build and install for the pg_config in PATH
#   make check               every suite on a throw-away server of its own
#   make installcheck        regression and isolation tests on a running server
#   make prove               the TAP suites (need Perl's IPC::Run)

EXTENSION = pg_cas
MODULE_big = pg_cas
DATA = $(srcdir_)sql/pg_cas--1.0.sql

# Found by wildcard, so that no source, test or spec can be forgotten.
srcdir_ := $(dir $(lastword $(MAKEFILE_LIST)))
OBJS = $(patsubst $(srcdir_)%.c,%.o,$(wildcard $(srcdir_)src/*.c $(srcdir_)src/*/*.c))
REGRESS = $(filter-out pg_cas--%,$(notdir $(basename $(wildcard $(srcdir_)sql/*.sql))))
ISOLATION = $(notdir $(basename $(wildcard $(srcdir_)test/specs/*.spec)))

PG_CPPFLAGS = -I$(srcdir_)src -DPG_CAS_VERSION='"$(CAS_VERSION)"'
CAS_VERSION = $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" $(srcdir_)pg_cas.control)
PG_CFLAGS = -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers -Wno-cast-function-type -Wno-clobbered

REGRESS_OPTS = --inputdir=$(srcdir_). --load-extension=$(EXTENSION)
ISOLATION_OPTS = --inputdir=$(srcdir_)test --load-extension=$(EXTENSION)
EXTRA_CLEAN = tmp_check output_iso results

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# A header's change rebuilds everything, the bitcode included.
$(OBJS) $(OBJS:.o=.bc): $(wildcard $(srcdir_)src/*.h $(srcdir_)src/*/*.h)
