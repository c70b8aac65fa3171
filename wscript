#! /usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""
How vfs_rsvd is built outside of Samba's tree.

Everything is found by where it is, so that a new file needs no line here:

  source3/librpc/idl/*.idl        wire and stored structures, by pidl
  modules/<part>/*.c              one static library a part
  source3/librsvd/*.c             librsvd.so.1
  source3/modules/vfs_rsvd*.c     rsvd.so
  source3/nbdkit/*.c              nbdkit-rsvd-plugin.so
  source3/utils/*.c               one program a file; <name>_*.c join <name>.c
  source3/rsvd_sg/                rsvd-sg, and what it preloads
  tests/unit/test_*.c             one cmocka program a file
  tests/{selftest,bench,...}/*.c  one program a file, with librsvd
  tests/crash/test_*.c            one program a file, with crash_*.c
  tests/crash/*.c                 other than these: with librsvd
  tests/fuzz/fuzz_*.c             one libFuzzer target a file (--fuzz)

Samba's headers come from its configured source tree, its libraries are those
that are installed: both of the same version, which buildtools/samba_tree.py
sees to.
"""

import os

from waflib import Build, ConfigSet, Configure, Errors, Logs, Options

APPNAME = 'vfs_rsvd'
VERSION = '0.1.0'
top = '.'
out = 'build'

# The parts of the engine, each with what it may use.
ENGINE = [
    ('vhdx', []),
    ('vhdset', ['vhdx']),
    ('scsi', ['vhdx']),
    ('rsvd', ['scsi', 'vhdset', 'vhdx']),
]

# Installed libraries of Samba, by the names wafsamba knows them under. All
# are offered to every link and --as-needed keeps those that are used, since
# which library has a function differs between versions of Samba; one that a
# version lacks is passed over.
SAMBA_LIBRARIES = '''
    smbd-base smbd-shim smbconf samba-passdb libsmb smbclient-raw
    cli-smb-common cmdline cmdline-contexts samba-credentials
    samba-hostconfig gensec auth samba3-util samba-security samba-sockets
    dbwrap tdb-wrap util-tdb server-id-db messages-dgm messages-util
    MESSAGING MESSAGING-SEND cluster samba-cluster-support
    ndr-samba ndr-standard ndr-nbt ndr dcerpc-binding
    samba-util samba-errors samba-debug tevent-util events sys-rw iov-buf
    socket-blocking interfaces genrand time-basic util-setid smb-transport
    secrets3 msrpc3 npa-tstream samba-modules replace
    '''.split()

WARNINGS = '-Wall -Wextra -Werror -Wno-unused-parameter'.split()

CLANG = ['clang'] + ['clang-%d' % version for version in range(22, 13, -1)]

SANITIZE = '-fsanitize=address,undefined -fno-sanitize-recover=undefined ' \
           '-fno-omit-frame-pointer'


def options(opt):
    opt.load('compiler_c')
    opt.add_option('--fuzz', action='store_true', default=False,
                   help='tests/fuzz, by clang, into build/fuzz')
    opt.add_option('--sanitize', action='store_true', default=False,
                   help='with ASan and UBSan, into build/sanitize: '
                        'everything that runs outside smbd')


def samba_cache(samba):
    """What Samba's own configure found out."""
    return ConfigSet.ConfigSet(os.path.join(samba, 'bin/c4che/default_cache.py'))


def find_library(samba, name):
    """
    The file of an installed Samba library, as -l: takes it, or None.

    The public name first: libndr-samba4.so.0 is not the private libndr.
    """
    for version in range(9, -1, -1):
        public = 'lib%s.so.%d' % (name, version)
        if os.path.exists(os.path.join(samba.LIBDIR, public)):
            return public
    private = 'lib%s-%s.so.0' % (name, samba.PRIVATE_EXTENSION)
    if os.path.exists(os.path.join(samba.PRIVATELIBDIR, private)):
        return private
    return None


def configure(conf):
    conf.load('compiler_c')
    env = conf.env

    samba = os.path.realpath('build/samba')
    cache = samba_cache(samba)
    env.SAMBA = samba
    env.SAMBA_PRIVATELIBDIR = cache.PRIVATELIBDIR
    env.PREFIX = '/usr'
    env.BINDIR = cache.BINDIR
    env.LIBDIR = cache.LIBDIR
    env.INCLUDEDIR = '/usr/include'
    env.MANDIR = cache.MANDIR
    env.VFSDIR = os.path.join(cache.MODULESDIR, 'vfs')

    conf.find_program('perl', var='PERL')
    conf.find_program('xsltproc', var='XSLTPROC', mandatory=False)

    for package in ['talloc', 'tevent', 'tdb', 'popt', 'libisal', 'cmocka',
                    'jansson', 'gnutls']:
        conf.check_cfg(package=package, args='--cflags --libs',
                       uselib_store=package)
    # Without it there is no plugin.
    conf.check_cfg(package='nbdkit', variables=['plugindir'],
                   args='--cflags', uselib_store='nbdkit', mandatory=False)
    # For who is compared with; the define is not for everybody.
    conf.check_cfg(package='libiscsi', args='--cflags --libs',
                   uselib_store='libiscsi', mandatory=False,
                   global_define=False)
    if env.LIB_libiscsi:
        env.DEFINES_libiscsi = ['HAVE_LIBISCSI=1']

    env.LIB_samba = [':' + lib for lib in
                     (find_library(cache, n) for n in SAMBA_LIBRARIES) if lib]
    env.LIBPATH_samba = [cache.PRIVATELIBDIR, cache.LIBDIR]

    # As Samba compiles itself; -isystem, for we do not fix its warnings.
    env.CFLAGS = ['-std=gnu99', '-g', '-O2', '-fPIC', '-fno-strict-aliasing',
                  '-fstack-protector-strong']
    env.DEFINES = ['HAVE_CONFIG_H=1', '_GNU_SOURCE=1', '_SAMBA_BUILD_=4',
                   '__STDC_WANT_LIB_EXT1__=1', '_REENTRANT',
                   '_XOPEN_SOURCE_EXTENDED=1',
                   'VFS_RSVD_VERSION="%s"' % VERSION]
    for path in ['', 'bin/default', 'bin/default/include',
                 'bin/default/source3', 'bin/default/source3/include',
                 'bin/default/librpc', 'include', 'lib', 'lib/replace',
                 'source3', 'source3/include', 'source3/lib', 'librpc',
                 'source4', 'source4/lib']:
        env.append_value('CFLAGS', ['-isystem', os.path.join(samba, path)])
    env.LINKFLAGS = ['-Wl,--as-needed', '-Wl,-z,defs', '-Wl,-z,relro']

    default = env
    conf.setenv('sanitize', default)
    conf.env.append_value('CFLAGS', SANITIZE.split())
    conf.env.append_value('LINKFLAGS', SANITIZE.split())
    conf.env.SANITIZE = True
    conf.setenv('fuzz', default)
    configure_fuzz(conf)
    conf.setenv('default', default)
    conf.setenv('')


def configure_fuzz(conf):
    """libFuzzer comes with clang; without it there is no fuzzing."""
    clang = conf.find_program(CLANG, var='CLANG', msg='clang',
                              mandatory=False)
    if not clang:
        return
    conf.env.CC = conf.env.LINK_CC = clang
    conf.env.append_value('CFLAGS', ['-O1', '-w'] + SANITIZE.split()
                          + ['-fsanitize=fuzzer-no-link'])
    conf.env.append_value('LINKFLAGS', SANITIZE.split()
                          + ['-fsanitize=fuzzer'])
    conf.env.FUZZ = conf.check_cc(
        fragment='int LLVMFuzzerTestOneInput(const char *data, long size);\n'
                 'int LLVMFuzzerTestOneInput(const char *data, long size)\n'
                 '{ return 0; }\n',
        msg='Checking for libFuzzer', mandatory=False)


def variant_of(context):
    class variant_context(context):
        @property
        def variant(self):
            return ('fuzz' if Options.options.fuzz else
                    'sanitize' if Options.options.sanitize else 'default')
    variant_context.cmd = context.cmd
    return variant_context


for context in (Build.BuildContext, Build.CleanContext, Build.InstallContext,
                Build.UninstallContext, Build.ListContext):
    variant_of(context)

# A changed wscript configures again by itself.
Configure.autoconfig = True


def build(bld):
    if bld.variant == 'fuzz' and not bld.env.FUZZ:
        return
    build_idl(bld)
    engine = build_engine(bld)
    if bld.variant == 'fuzz':
        build_cmdline(bld)
        build_fuzz(bld, engine, build_unit_helpers(bld, engine))
        return
    build_library(bld)
    build_nbdkit(bld)
    build_cmdline(bld)
    build_programs(bld, engine)
    build_unit_tests(bld, engine)
    build_rsvd_sg(bld, engine)
    if not bld.env.SANITIZE:
        build_module(bld, engine)
        build_manpages(bld)


def sources(bld, pattern):
    return bld.path.ant_glob(pattern)


def build_idl(bld):
    """pidl every IDL file; "librpc/gen_ndr/<name>.h" finds the result."""
    generated = []
    pidl = os.path.join(bld.env.SAMBA, 'pidl/pidl')
    for idl in sources(bld, 'source3/librpc/idl/*.idl'):
        name = os.path.splitext(idl.name)[0]
        outputs = [bld.bldnode.make_node('librpc/gen_ndr/' + f) for f in
                   (name + '.h', 'ndr_%s.h' % name, 'ndr_%s.c' % name)]
        bld(name='PIDL_' + name.upper(),
            rule='cd %s && CC="${CC}" CPP="${CC} -E" ${PERL} %s --quiet '
                 '--header --ndr-parser --includedir=%s '
                 '--includedir=librpc/idl --includedir=source3/librpc/idl '
                 '--outputdir=%s -- ${SRC[0].abspath()}'
                 % (bld.env.SAMBA, pidl, idl.parent.abspath(),
                    outputs[0].parent.abspath()),
            source=idl, target=outputs, ext_out='.h', before='c', shell=True)
        generated.append(outputs[2])
    if generated:
        bld.stlib(target='lib/ndr_rsvd', name='ndr_rsvd', source=generated,
                  includes=includes(bld), use='talloc samba',
                  cflags=['-Wno-error'])
    else:
        bld(name='ndr_rsvd')


def includes(bld):
    return [bld.path, bld.bldnode]


def build_cmdline(bld):
    """The one thing that Samba links into each of its programs."""
    source = bld.root.find_node(
        os.path.join(bld.env.SAMBA, 'lib/cmdline/cmdline_s3.c'))
    bld.stlib(target='lib/samba_cmdline', name='samba_cmdline',
              source=[source], use='samba talloc popt', install_path=None)


def build_engine(bld):
    for part, uses in ENGINE:
        source = sources(bld, 'modules/%s/*.c' % part)
        if source:
            bld.stlib(target='lib/engine_' + part, name=part, source=source,
                      includes=includes(bld), cflags=WARNINGS,
                      use=uses + ['ndr_rsvd', 'libisal', 'samba', 'tevent',
                                  'talloc', 'tdb'])
        else:
            bld(name=part, use=uses + ['ndr_rsvd'])
    return [part for part, _ in reversed(ENGINE)]


def rpath(bld, target):
    """Samba's private libraries, and our own beside the program."""
    up = '/..' * (target.count('/'))
    return ['$ORIGIN%s/lib' % up, bld.env.SAMBA_PRIVATELIBDIR]


def build_module(bld, engine):
    source = sources(bld, 'source3/modules/vfs_rsvd*.c')
    if not source:
        return
    # smbd looks for samba_init_module; nothing else may be seen, or a
    # function of ours could stand in for one of Samba's own.
    module = bld.shlib(
        target='modules/rsvd', name='vfs_rsvd', source=source,
        includes=includes(bld), cflags=WARNINGS,
        defines=['vfs_rsvd_init=samba_init_module'],
        use=engine + ['ndr_rsvd', 'samba', 'tevent', 'talloc', 'tdb'],
        linkflags=version_script(bld, 'source3/modules/vfs_rsvd.map'),
        install_path='${VFSDIR}')
    module.env.cshlib_PATTERN = '%s.so'
    helper = bld.shlib(
        target='modules/builtin_vfs', name='builtin_vfs',
        source='tests/harness/builtin_vfs.c', includes=includes(bld),
        cflags=WARNINGS, use='samba tevent talloc', install_path=None)
    helper.env.cshlib_PATTERN = '%s.so'


def version_script(bld, path):
    node = bld.path.find_node(path)
    return ['-Wl,--version-script=' + node.abspath()] if node else []


def build_library(bld):
    source = sources(bld, 'source3/librsvd/*.c')
    if not source:
        bld(name='librsvd')
        return
    bld.shlib(target='lib/rsvd', name='librsvd', source=source,
              includes=includes(bld) + [bld.path.find_dir('source3/librsvd')],
              export_includes=[bld.path.find_dir('source3/librsvd')],
              cflags=WARNINGS, vnum='1.0.0',
              use=['ndr_rsvd', 'samba', 'tevent', 'talloc'],
              linkflags=version_script(bld, 'source3/librsvd/librsvd.map'),
              rpath=[bld.env.SAMBA_PRIVATELIBDIR],
              install_path='${LIBDIR}')
    bld.install_files('${INCLUDEDIR}',
                      sources(bld, 'source3/librsvd/librsvd.h'))
    bld(features='subst', source='source3/librsvd/librsvd.pc.in',
        target='lib/librsvd.pc', install_path='${LIBDIR}/pkgconfig',
        LIBDIR=bld.env.LIBDIR, INCLUDEDIR=bld.env.INCLUDEDIR,
        VERSION=VERSION)


def build_nbdkit(bld):
    source = sources(bld, 'source3/nbdkit/nbdkit_rsvd*.c')
    if not bld.env.nbdkit_plugindir or bld.env.SANITIZE:
        return
    plugin = bld.shlib(
        target='nbdkit/nbdkit-rsvd-plugin', name='nbdkit_rsvd',
        source=source, includes=includes(bld), cflags=WARNINGS,
        use=['librsvd', 'nbdkit', 'samba', 'tevent', 'talloc'],
        # nbdkit_error() and the like are nbdkit's own.
        linkflags=version_script(bld, 'source3/nbdkit/nbdkit_rsvd.map')
        + ['-Wl,-z,undefs'],
        rpath=rpath(bld, 'nbdkit/nbdkit-rsvd-plugin'),
        install_path=bld.env.nbdkit_plugindir)
    plugin.env.cshlib_PATTERN = '%s.so'


def build_program(bld, source, target, uses, install_path=None, defines=()):
    bld.program(target=target, name=os.path.basename(target), source=source,
                includes=includes(bld), cflags=WARNINGS, defines=list(defines),
                use=uses + ['ndr_rsvd', 'samba_cmdline', 'samba',
                            'popt', 'jansson', 'tevent', 'talloc', 'tdb'],
                rpath=rpath(bld, target), install_path=install_path)


def build_programs(bld, engine):
    utils = {os.path.splitext(n.name)[0]: n
             for n in sources(bld, 'source3/utils/*.c')}
    for name in sorted(utils):
        if any(name.startswith(other + '_') for other in utils):
            continue
        build_program(bld, [utils[n] for n in sorted(utils)
                            if n == name or n.startswith(name + '_')],
                      'bin/' + name, ['librsvd', 'gnutls'] + engine,
                      '${BINDIR}')
    for node in sources(bld, 'source3/utils/*.bash-completion'):
        bld.install_as('${PREFIX}/share/bash-completion/completions/'
                       + os.path.splitext(node.name)[0], node)
    for source in sources(bld, 'tests/*.c'):
        build_program(bld, [source], 'tests/'
                      + os.path.splitext(source.name)[0], ['librsvd'])
    for directory in ('selftest', 'bench', 'interop'):
        for source in sources(bld, 'tests/%s/*.c' % directory):
            build_program(bld, [source], 'tests/%s/%s' % (
                directory, os.path.splitext(source.name)[0]),
                ['librsvd', 'cmocka'] + engine
                + (['libiscsi'] if directory == 'bench' else []))
    helpers = sources(bld, 'tests/crash/crash_*.c')
    for source in sources(bld, 'tests/crash/*.c'):
        name = os.path.splitext(source.name)[0]
        if name.startswith('test_'):
            build_program(bld, helpers + [source], 'tests/crash/' + name,
                          engine)
        elif source not in helpers:
            build_program(bld, [source], 'tests/crash/' + name, ['librsvd'])


def build_fuzz(bld, engine, uses):
    helpers = sources(bld, 'tests/fuzz/fuzz_image.c')
    helpers += sources(bld, 'tests/crash/crash_file.c')
    for source in sources(bld, 'tests/fuzz/fuzz_*.c'):
        if source not in helpers:
            build_program(bld, helpers + [source], 'tests/fuzz/'
                          + os.path.splitext(source.name)[0],
                          uses + engine)


def build_unit_helpers(bld, engine):
    helpers = sources(bld, 'tests/unit/*.c')
    helpers = [n for n in helpers if not n.name.startswith('test_')]
    if helpers:
        bld.stlib(target='tests/unit/helpers', name='unit_helpers',
                  source=helpers, includes=includes(bld), cflags=WARNINGS,
                  use=engine + ['cmocka', 'samba'])
    return ['unit_helpers'] if helpers else []


def build_unit_tests(bld, engine):
    helpers = build_unit_helpers(bld, engine)
    for source in sources(bld, 'tests/unit/test_*.c'):
        build_program(bld, [source], 'tests/unit/'
                      + os.path.splitext(source.name)[0],
                      helpers + engine + ['cmocka'])


def build_rsvd_sg(bld, engine):
    """
    SG_IO devices for programs that know no RSVD: one preloaded library a
    backend, and the program that runs the command with the one of librsvd.
    """
    path = 'source3/rsvd_sg/'
    preload = sources(bld, path + 'rsvd_sg_preload.c')
    library = bld.shlib(
        target='lib/rsvd_sg_local', name='rsvd_sg_local',
        source=preload, includes=includes(bld), cflags=WARNINGS,
        use=['unit_helpers'] + engine + ['ndr_rsvd', 'samba', 'talloc'],
        rpath=[bld.env.SAMBA_PRIVATELIBDIR], install_path=None)
    library.env.cshlib_PATTERN = '%s.so'

    # It goes into programs that have no sanitizer.
    library = bld.shlib(
        target='lib/rsvd_sg', name='rsvd_sg',
        source=preload + sources(bld, path + 'rsvd_sg_client.c'),
        includes=includes(bld), cflags=WARNINGS, use='samba',
        linkflags=version_script(bld, path + 'rsvd_sg.map'),
        install_path='${LIBDIR}/rsvd')
    library.env = library.env.derive()
    library.env.cshlib_PATTERN = '%s.so'
    for flags in ('CFLAGS', 'LINKFLAGS'):
        library.env[flags] = [flag for flag in library.env[flags]
                              if flag not in SANITIZE.split()]

    build_program(bld,
                  sources(bld, path + 'rsvd_sg.c')
                  + sources(bld, path + 'rsvd_sg_serve.c')
                  + sources(bld, 'source3/utils/rsvdctl_machine.c'),
                  'bin/rsvd-sg', ['librsvd', 'gnutls'], '${BINDIR}',
                  defines=['RSVD_SG_LIBRARY="%s/rsvd/rsvd_sg.so"'
                           % os.path.relpath(bld.env.LIBDIR,
                                             bld.env.BINDIR)])


def build_manpages(bld):
    if not bld.env.XSLTPROC:
        return
    stylesheet = '/usr/share/xml/docbook/stylesheet/docbook-xsl/' \
                 'manpages/docbook.xsl'
    for xml in sources(bld, 'docs/man/*.xml'):
        page = os.path.splitext(xml.name)[0]
        bld(rule='${XSLTPROC} --nonet --stringparam man.output.quietly 1 '
                 '--stringparam refentry.meta.get.quietly 1 '
                 '-o ${TGT} %s ${SRC}' % stylesheet,
            source=xml, target='docs/man/' + page,
            install_path='${MANDIR}/man' + page[-1])
