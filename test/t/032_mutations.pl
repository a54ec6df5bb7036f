# Claim: each patch of test/mutations applies to the code, says what it breaks, and
# names tests that exist.  Whether these tests fail is tried by scripts/mutations.
use strict;
use warnings;

use File::Basename;
use Test::More;

my $root = dirname(__FILE__) . '/../..';

plan skip_all => 'the mutations are not part of this archive' unless -d "$root/test/mutations";
plan skip_all => 'patch is not installed' if system('command -v patch >/dev/null') != 0;

is(`'$root/scripts/mutations' --check 2>&1`, '', 'each patch applies, and has its headers and tests');
is($?, 0, 'and so says scripts/mutations --check');

done_testing();
