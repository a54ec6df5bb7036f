# Dockerfile: the official image of PostgreSQL with pg_cas installed in it.
#
#   docker build -t pg_cas .
#   docker build -t pg_cas:15 --build-arg PG_MAJOR=15 .
#
# In a database of a container of it: CREATE EXTENSION pg_cas;
#
# The first stage builds, the second one takes what has been built.  Both are of
# the same image, so of the same minor release.
ARG PG_MAJOR=17

FROM postgres:${PG_MAJOR} AS build
ARG PG_MAJOR

# The headers are of the image's minor release.  Their package is only unpacked,
# since it depends on clang and LLVM, for bitcode, of which nothing is built.
RUN apt-get update && \
    apt-get install -y --no-install-recommends gcc libc6-dev make && \
    cd /tmp && \
    apt-get download "postgresql-server-dev-${PG_MAJOR}=$(dpkg-query \
        -W -f '${Version}' "postgresql-${PG_MAJOR}")" && \
    dpkg -x postgresql-server-dev-*.deb /

COPY . /src
RUN make -C /src with_llvm=no \
        PG_CONFIG="/usr/lib/postgresql/${PG_MAJOR}/bin/pg_config" all && \
    make -C /src with_llvm=no DESTDIR=/built \
        PG_CONFIG="/usr/lib/postgresql/${PG_MAJOR}/bin/pg_config" install

FROM postgres:${PG_MAJOR}
COPY --from=build /built /
