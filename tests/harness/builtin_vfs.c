/*
 * vfs_rsvd: have smbd register its built-in VFS modules early
 *
 * The tests load rsvd.so from the build directory, which only "preload
 * modules" can do. But smbd registers the modules it has built in when the
 * first share is connected, and only if no module is registered by then:
 * after a preloaded one it would run without its default VFS. So this is
 * preloaded before. A module that is installed where smbd looks for it needs
 * none of this.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "includes.h"
#include "smbd/smbd.h"

static_decl_vfs;

NTSTATUS samba_init_module(TALLOC_CTX *mem_ctx);
NTSTATUS samba_init_module(TALLOC_CTX *mem_ctx)
{
	static_init_vfs(mem_ctx);
	return NT_STATUS_OK;
}
