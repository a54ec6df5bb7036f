# pg_cas: build, install and test on PGXS.
#
#   make && make install     build and install for the pg_config in PATH, or
#                            for another one: make PG_CONFIG=/path/pg_config
#   make check               every suite, on a throw-away server of its own
#   make installcheck        regression and isolation tests on a running server
#                            (or, not as root, on a temporary one:
#                            EXTRA_REGRESS_OPTS=--temp-instance=tmp_check)
#   make prove               the TAP suites on what is installed (these need
#                            Perl's IPC::Run, and not to be root)
#   make unit                the files that call no server, with sanitizers
#   make dist                pg_cas-VERSION.zip and .tar.gz of what is committed
#
# COPT=-Werror makes warnings errors.  Builds outside the source tree work:
# make -f /path/to/pg_cas/Makefile.

EXTENSION = pg_cas
MODULE_big = pg_cas

# Everything is found by wildcard, so that no source or test can be forgotten.
here := $(dir $(lastword $(MAKEFILE_LIST)))
find = $(sort $(patsubst $(here)%,%,$(wildcard $(addprefix $(here),$(1)))))

# The install script is made from one file per family; update scripts, once
# there are any, lie in sql/.
CAS_VERSION := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" $(here)pg_cas.control)
install_sql := $(sort $(wildcard $(here)sql/install/*.sql))
DATA := $(call find,sql/pg_cas--*--*.sql)
DATA_built := pg_cas--$(CAS_VERSION).sql
OBJS := $(patsubst %.c,%.o,$(call find,src/*.c src/*/*.c))
headers := $(wildcard $(here)src/*.h $(here)src/*/*.h)

# Both suites begin with their helpers, whatever else is run of them.
helpers = pg_cas_test
REGRESS := $(filter-out pg_cas--% $(helpers),$(basename $(notdir $(call find,sql/*.sql))))
ISOLATION := $(basename $(notdir $(call find,test/specs/*.spec)))
ifneq (,$(REGRESS))
override REGRESS := $(helpers) $(REGRESS)
endif
ifneq (,$(ISOLATION))
override ISOLATION := $(helpers) $(ISOLATION)
endif
docs := README.md CHANGELOG.md SECURITY.md LICENSE \
	$(call find,docs/*.md docs/*.svg docs/*/*)
PROVE_TESTS := $(call find,test/t/*.pl)
UNIT_TESTS := $(basename $(notdir $(call find,test/unit/*.c)))

PG_CPPFLAGS = -I$(here)src -DPG_CAS_VERSION='"$(CAS_VERSION)"'
PG_CFLAGS = -Wextra -Wno-unused-parameter -Wno-sign-compare \
	-Wno-missing-field-initializers -Wno-cast-function-type -Wno-clobbered

# The tests bring what they need of the database along: an encoding, since a
# cluster that was made under LC_ALL=C has SQL_ASCII.
REGRESS_OPTS = --load-extension=$(EXTENSION) --encoding=UTF8
ISOLATION_OPTS = --inputdir=$(srcdir)/test --load-extension=$(EXTENSION) \
	--encoding=UTF8
USE_MODULE_DB = 1
EXTRA_CLEAN = tmp_check

PG_CONFIG ?= pg_config

ifneq (,$(filter check,$(MAKECMDGOALS)))

# PGXS has a "check" of its own, which tests nothing, says so and succeeds.
# It is kept out: this make runs scripts/test, and another one any other goal.
.PHONY: $(MAKECMDGOALS)
check:
	@$(here)scripts/test
$(filter-out check,$(MAKECMDGOALS)):
	$(MAKE) -f $(firstword $(MAKEFILE_LIST)) $@

else

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

$(DATA_built): $(install_sql)
	cat $^ >$@

# A header's change rebuilds everything, the bitcode included.
$(OBJS) $(OBJS:.o=.bc): $(headers)

# Outside the source tree the folders of the objects have to be made.
$(shell mkdir -p $(dir $(OBJS)))

# The pages keep their folders, since they refer to each other.  The DOCS of
# PGXS would put them beside those of all other extensions, README.md included.
cas_docdir = $(DESTDIR)$(docdir)/$(EXTENSION)
.PHONY: install-docs uninstall-docs
install: install-docs
install-docs:
	$(MKDIR_P) $(foreach d,$(sort $(dir $(docs))),'$(cas_docdir)/$(d)')
	for f in $(docs); do \
		$(INSTALL_DATA) "$(srcdir)/$$f" '$(cas_docdir)'/$$f || exit; done
uninstall: uninstall-docs
uninstall-docs:
	rm -rf '$(cas_docdir)'

# The archives of a release, of the commit that is checked out.
.PHONY: dist
DISTVERSION = $(shell sed -n 's/^   "version": "\(.*\)",/\1/p' $(here)META.json)
dist:
	for format in zip tar.gz; do git -C '$(srcdir)' archive --format=$$format \
		--prefix=$(EXTENSION)-$(DISTVERSION)/ HEAD \
		>$(EXTENSION)-$(DISTVERSION).$$format || exit; done

# The helpers as a spec, where pg_isolation_regress looks before it looks into
# the source.
installcheck: output_iso/specs/$(helpers).spec
output_iso/specs/$(helpers).spec: $(here)test/helpers/pg_cas_test.sql
	@mkdir -p $(@D)
	@{ echo 'setup {'; cat $<; echo '}'; echo 'session s'; \
		echo "step loaded { SELECT 'helpers' AS loaded; }"; } >$@

# pg_regress stops at the first test that has no expected file, without a
# word on the others: say so beforehand.
installcheck: expected-files
.PHONY: expected-files
expected-files:
	@missing= ; for f in $(REGRESS:%=expected/%.out) $(ISOLATION:%=test/expected/%.out); do \
		test -f $(srcdir)/$$f || missing="$$missing $$f"; done; \
	test -z "$$missing" || { echo "missing:$$missing" >&2; exit 1; }

.PHONY: prove
PG_PROVE_FLAGS += -I $(srcdir)/test/perl
prove:
	$(prove_installcheck)

# Each file in test/unit is a program that includes the source that it tests,
# and exits with 0 if all is well.
.PHONY: unit
UNIT_CFLAGS = -std=gnu99 -g -O1 -Wall -Wextra -Werror \
	-fsanitize=address,undefined -fno-sanitize-recover=all
unit: $(UNIT_TESTS:%=tmp_check/unit/%)
	@failed=0; for t in $^; do $$t || { echo "not ok: $$t"; failed=1; }; done; \
	exit $$failed
tmp_check/unit/%: test/unit/%.c $(headers) $(call find,src/*/*.c)
	@mkdir -p $(@D)
	$(CC) $(UNIT_CFLAGS) -I$(srcdir)/src -I$(includedir_server) $< -o $@

endif
