#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""
./waf setup: what vfs_rsvd is built against.

A module of smbd needs Samba's private headers, and they must be those of the
smbd that loads it: same version, same configuration. The distribution has
them in its source package only. This fetches the source of the installed
version, configures it as the package does and generates the headers; nothing
of Samba is compiled, for its libraries are installed.

Nothing outside the checkout is written but the packages that apt installs:
apt works on lists and a cache of our own, below build/apt.
"""

import contextlib
import fcntl
import functools
import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(TOP, 'build')
LINK = os.path.join(BUILD, 'samba')
STAMP = os.path.join(BUILD, 'setup.stamp')
LOG = os.path.join(BUILD, 'setup.log')
APT = os.path.join(BUILD, 'apt')

# Some of what generate_headers() makes: a tree that has these is ready.
GENERATED = [
    'bin/c4che/default_cache.py',
    'bin/default/include/config.h',
    'bin/default/lib/param/param_proto.h',
    'bin/default/libcli/util/ntstatus_gen.h',
    'bin/default/librpc/gen_ndr/ndr_ioctl.h',
    'bin/default/librpc/gen_ndr/ndr_xattr.h',
    'bin/default/source3/librpc/gen_ndr/ndr_open_files.h',
    'bin/default/source3/param/param_proto.h',
]


def fail(message):
    sys.exit('./waf setup: ' + message)


def step(message):
    print('setup: ' + message, flush=True)


def run(arguments, **options):
    """Run a command, its output into the log; shown when it fails."""
    must = options.pop('must', True)
    with open(LOG, 'a+') as log:
        log.write('\n%s + %s\n' % (time.strftime('%H:%M:%S'),
                                   ' '.join(arguments)))
        log.flush()
        start = log.tell()
        status = subprocess.call(arguments, stdin=subprocess.DEVNULL,
                                 stdout=log, stderr=log, **options)
        if status != 0 and must:
            log.seek(start)
            sys.stderr.writelines(log.readlines()[-40:])
            fail('%s failed; all of its output is in %s'
                 % (' '.join(arguments[:2]), os.path.relpath(LOG, TOP)))
    return status == 0


def output(arguments, **options):
    return subprocess.run(arguments, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, universal_newlines=True,
                          **options).stdout


#
# Packages
#

def is_root():
    return os.geteuid() == 0


def wanted_packages():
    with open(os.path.join(TOP, 'buildtools/packages')) as packages:
        lines = [line.split('#')[0].strip() for line in packages]
    return [line for line in lines if line]


def missing_packages():
    status = output(['dpkg-query', '-W', '-f', '${Package} ${Status}\n']
                    + wanted_packages(), stderr=subprocess.DEVNULL)
    installed = {line.split()[0] for line in status.splitlines()
                 if line.endswith(' installed')}
    return [name for name in wanted_packages() if name not in installed]


def distribution_stanzas(codename, etc='/etc/apt'):
    """
    The system's own package sources that are of the distribution, as (file
    name, text), each with both binary and source packages: build-dep can not
    resolve anything from a list that has sources only.

    Third parties' lists are left out. They do not have Samba, and one that
    is unreachable must not get in the way.
    """
    def ours(suites, components):
        return 'main' in components and (
            not codename or any(s.startswith(codename) for s in suites))

    lines = []
    for path in [etc + '/sources.list'] + sorted(
            glob.glob(etc + '/sources.list.d/*.list')):
        if not os.path.exists(path):
            continue
        with open(path) as entries:
            for entry in entries:
                match = re.match(
                    r'\s*deb\s+(\[[^]]*\]\s+)?(\S+)\s+(\S+)\s+([^#]*)', entry)
                if match and ours([match.group(3)], match.group(4).split()):
                    rest = entry.strip()[len('deb'):]
                    lines += ['deb' + rest, 'deb-src' + rest]
    if lines:
        yield 'system.list', '\n'.join(dict.fromkeys(lines)) + '\n'

    for path in sorted(glob.glob(etc + '/sources.list.d/*.sources')):
        with open(path) as stanzas:
            text = re.sub(r'(?m)^#.*\n', '', stanzas.read())
        kept = []
        for stanza in re.split(r'\n\s*\n', text.strip()):
            field = {key.lower(): value for key, value in re.findall(
                r'(?m)^(\S+):[ \t]*(.*(?:\n[ \t].*)*)', stanza)}
            if ('deb' in field.get('types', '').split()
                    and field.get('enabled', 'yes').strip() != 'no'
                    and ours(field.get('suites', '').split(),
                             field.get('components', '').split())):
                kept.append(re.sub(r'(?mi)^types:.*$', 'Types: deb deb-src',
                                   stanza))
        if kept:
            yield os.path.basename(path), '\n\n'.join(kept) + '\n'


def apt_sources():
    codename = ''
    with open('/etc/os-release') as release:
        for line in release:
            if line.startswith('VERSION_CODENAME='):
                codename = line.split('=')[1].strip().strip('"')
    return (list(distribution_stanzas(codename))
            or list(distribution_stanzas('')))


def apt_get(*arguments, **options):
    return run(apt_command(*arguments), env=apt_environment(), **options)


def apt_command(*arguments):
    settings = {
        'Dir::Etc::sourcelist': '/dev/null',
        'Dir::Etc::sourceparts': os.path.join(APT, 'sources'),
        'Dir::State::Lists': os.path.join(APT, 'lists'),
        'Dir::Cache': os.path.join(APT, 'cache'),
        'APT::Sandbox::User': 'root',
        'APT::Install-Recommends': 'false',
        'DPkg::Lock::Timeout': '600',
        'Acquire::Retries': '3',
    }
    command = ['apt-get', '-q', '-y']
    for name, value in settings.items():
        command += ['-o', '%s=%s' % (name, value)]
    return command + list(arguments)


def apt_environment():
    return dict(os.environ, DEBIAN_FRONTEND='noninteractive', LC_ALL='C')


@functools.lru_cache()
def apt_update():
    """Have package lists; once in a run."""
    step('reading the package lists')
    shutil.rmtree(os.path.join(APT, 'sources'), ignore_errors=True)
    for directory in ('sources', 'lists/partial', 'cache/archives/partial'):
        os.makedirs(os.path.join(APT, directory), exist_ok=True)
    sources = apt_sources()
    if not sources:
        fail('no deb entries in /etc/apt to take packages from')
    for name, text in sources:
        with open(os.path.join(APT, 'sources', name), 'w') as target:
            target.write(text)
    # One list of many that fails is no reason to give up: what is really
    # needed and missing shows in the next step.
    apt_get('update', must=False)


def install_packages(build_dependencies):
    """Install what is missing; as a user, say what to install."""
    missing = missing_packages()
    if not missing and not build_dependencies:
        return
    apt_update()
    if is_root():
        if missing:
            step('installing %d packages' % len(missing))
            apt_get('install', *missing)
        if build_dependencies:
            step('installing the build dependencies of Samba')
            apt_get('build-dep', source_package())
        return

    if build_dependencies:
        simulation = output(
            apt_command('--simulate', 'build-dep', source_package()),
            env=apt_environment(), stderr=subprocess.STDOUT)
        missing += re.findall(r'(?m)^Inst (\S+) \(', simulation)
    missing = sorted(set(missing))
    if missing:
        fail('these packages are missing, install them as root:\n'
             '  apt-get install --no-install-recommends ' + ' '.join(missing))


#
# Samba
#

def installed_version():
    """Debian's version of the installed smbd, None when there is none."""
    return output(['dpkg-query', '-W', '-f', '${Version}', 'samba'],
                  stderr=subprocess.DEVNULL).strip() or None


def source_package():
    version = installed_version()
    return 'samba=' + version if version else 'samba'


def smbd_version():
    """As smbd says it, 4.17.12-Debian: what the libraries' symbols carry."""
    answer = output(['/usr/sbin/smbd', '-V'], stderr=subprocess.DEVNULL)
    return answer.replace('Version ', '').strip()


def tree_version(tree):
    """MAJOR.MINOR.RELEASE of a source tree."""
    with open(os.path.join(tree, 'VERSION')) as version:
        field = dict(re.findall(r'(?m)^SAMBA_VERSION_(\w+)=(.*)$',
                                version.read()))
    return '.'.join(field[part] for part in ('MAJOR', 'MINOR', 'RELEASE'))


def fetch():
    """Unpack the source package of the installed version into build/."""
    step('fetching the source of ' + source_package())
    unpack = os.path.join(BUILD, 'samba.unpack')
    shutil.rmtree(unpack, ignore_errors=True)
    os.makedirs(unpack)
    if not apt_get('source', source_package(), cwd=unpack, must=False):
        fail('the package sources in /etc/apt do not have the source of %s: '
             'upgrade samba, or name a tree with --samba-source=DIR (see %s)'
             % (source_package(), os.path.relpath(LOG, TOP)))
    unpacked, = glob.glob(os.path.join(unpack, 'samba-*/'))
    tree = os.path.join(BUILD, os.path.basename(unpacked.rstrip('/')))
    shutil.rmtree(tree, ignore_errors=True)
    os.rename(unpacked, tree)
    shutil.rmtree(unpack)
    return tree


def copy(source):
    """An existing tree that is not ready is not ours to write to."""
    tree = os.path.join(BUILD, 'samba-' + tree_version(source))
    step('copying %s to %s' % (source, os.path.relpath(tree, TOP)))
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(source, tree, symlinks=True,
                    ignore=shutil.ignore_patterns('.git', 'bin.old'))
    return tree


def waf(tree, *arguments):
    # Samba's waf does not start without PYTHONHASHSEED.
    run(['/usr/bin/python3', 'buildtools/bin/waf'] + list(arguments),
        cwd=tree, env=dict(os.environ, PYTHONHASHSEED='1'))


def configure_arguments(tree):
    """
    What debian/rules configures Samba with. A makefile that includes it can
    print the variable, with all that it depends on, and the shell undoes the
    quoting.
    """
    rules = os.path.join(tree, 'debian/rules')
    if not os.path.exists(rules):
        fail('%s is not a distribution\'s source package and not configured'
             % tree)
    makefile = os.path.join(BUILD, 'configure-arguments.mk')
    with open(makefile, 'w') as printer:
        printer.write('include debian/rules\n'
                      'print-configure-arguments:\n'
                      '\t@printf "%s\\0" $(config-args)\n')
    arguments = output(['make', '-s', '-f', makefile,
                        'print-configure-arguments'],
                       cwd=tree, stderr=subprocess.DEVNULL).split('\0')[:-1]
    os.unlink(makefile)
    if '--enable-fhs' not in arguments:
        fail('could not take the configure arguments from ' + rules)
    return arguments


def configure(tree):
    step('configuring it as the distribution does (a minute)')
    # debian/rules does this too. The suffix is part of the version that the
    # symbols of the installed libraries have.
    vendor = smbd_version().partition('-')[2]
    path = os.path.join(tree, 'VERSION')
    with open(path) as version:
        text = re.sub(r'(?m)^(SAMBA_VERSION_VENDOR_SUFFIX)=.*$',
                      r'\1=' + vendor, version.read())
    with open(path, 'w') as version:
        version.write(text)
    waf(tree, 'configure', *configure_arguments(tree))


def generate_headers(tree):
    """
    Have Samba's build make the headers it generates, and nothing else.

    waf would build all of smbd for the targets that use them, so name the
    generators: of the IDL files that its build knows, the error codes and
    the parameters of smb.conf.
    """
    step('generating its headers (half a minute)')
    targets = []
    for directory in ('librpc/idl', 'source3/librpc/idl'):
        with open(os.path.join(tree, directory, 'wscript_build')) as script:
            known = set(re.findall(r'\w+\.idl', script.read()))
        for path in sorted(glob.glob(os.path.join(tree, directory, '*.idl'))):
            if os.path.basename(path) in known:
                name = os.path.splitext(os.path.basename(path))[0]
                targets.append('PIDL_' + name.upper())
    for directory in ('libcli/util', 'lib/param', 'source3/param'):
        with open(os.path.join(tree, directory, 'wscript_build')) as script:
            targets += re.findall(r"(?m)^bld\.SAMBA_GENERATOR\('([^']+)'",
                                  script.read())
    waf(tree, 'build', '--targets=' + ','.join(targets))

    # This one would take waf through all of Kerberos first.
    run(['perl', 'source4/script/mkproto.pl', '--srcdir=.',
         '--builddir=bin/default', '--public=/dev/null',
         '--private=bin/default/lib/param/param_proto.h',
         'lib/param/loadparm.c', 'lib/param/util.c'], cwd=tree)


def is_ready(tree):
    return all(os.path.exists(os.path.join(tree, path)) for path in GENERATED)


#
# The whole
#

def current():
    """The tree to build against."""
    return os.path.realpath(LINK)


def remove_compiled():
    for name in ('default', 'sanitize', 'c4che'):
        shutil.rmtree(os.path.join(BUILD, name), ignore_errors=True)


def stamp(tree):
    """What a finished setup depends on."""
    packages = ' '.join(wanted_packages()).encode()
    return '%s\n%s\n%s\n' % (tree, installed_version(),
                             hashlib.sha256(packages).hexdigest())


def is_of_installed_version():
    """
    Whether the tree at LINK can be kept: a security update changes the
    source, though hardly ever what smbd calls its version.
    """
    if not os.path.exists(LINK) or not is_ready(current()):
        return False
    if tree_version(current()) != smbd_version().partition('-')[0]:
        return False
    try:
        with open(STAMP) as done:
            return done.read().split('\n')[1] == installed_version()
    except OSError:
        return True


def is_done(samba_source):
    if samba_source and os.path.realpath(samba_source) != current():
        return False
    try:
        with open(STAMP) as done:
            return done.read() == stamp(current()) and is_ready(current())
    except OSError:
        return False


@contextlib.contextmanager
def lock():
    os.makedirs(BUILD, exist_ok=True)
    with open(os.path.join(BUILD, '.setup.lock'), 'w') as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def setup(samba_source=None):
    """Have a tree of the installed smbd's version, configured, at LINK."""
    with lock():
        if is_done(samba_source):
            return
        started = time.time()
        if samba_source:
            samba_source = os.path.realpath(samba_source)
            if not os.path.exists(os.path.join(samba_source, 'VERSION')):
                fail('%s is not a Samba source tree' % samba_source)
            ready = is_ready(samba_source)
        else:
            ready = is_of_installed_version()

        if is_root():
            # smbd first: its version decides which source is fetched.
            install_packages(build_dependencies=False)
        install_packages(build_dependencies=not ready)

        if samba_source:
            tree = samba_source if ready else copy(samba_source)
        elif ready:
            tree = current()
        else:
            tree = fetch()

        if tree_version(tree) != smbd_version().partition('-')[0]:
            fail('%s is Samba %s, but the installed smbd is %s'
                 % (tree, tree_version(tree), smbd_version()))
        if not ready:
            configure(tree)
            generate_headers(tree)
        if not ready:
            # What was compiled may be against another tree of that name.
            remove_compiled()
        if os.path.islink(LINK):
            os.unlink(LINK)
        os.symlink(tree if not tree.startswith(BUILD + os.sep)
                   else os.path.basename(tree), LINK)
        if not is_ready(tree):
            fail('not all headers were generated in ' + tree)
        with open(STAMP, 'w') as done:
            done.write(stamp(current()))
        step('done in %d s' % (time.time() - started))
