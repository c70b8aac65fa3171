/*
 * nbdkit-rsvd-plugin: what nbdkit calls
 *
 * All NBD connections share one handle of the disk: what is flushed for one
 * is flushed for all, and so a client may have several (multi-conn).
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "source3/nbdkit/nbdkit_rsvd.h"

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

#define RSVD_NBD_TIMEOUT_SEC 60
#define RSVD_NBD_RECONNECT_TIMEOUT_SEC 60

static struct rsvd_nbd_params params = {
	.reconnect_timeout_sec = RSVD_NBD_RECONNECT_TIMEOUT_SEC,
	.connect.timeout_msec = RSVD_NBD_TIMEOUT_SEC * 1000,
};
static bool have_initiator_id;
static char *disk_name;	/* backs server, share and path of disk= */
static char *password;

static void rsvd_unload(void)
{
	free(disk_name);
	free(password);
}

/*
 * Parameters
 */

/* Take //server/share/path apart, which may come with backslashes. */
static int rsvd_config_disk(const char *value)
{
	char *p = NULL, *share = NULL, *path = NULL;

	free(disk_name);
	disk_name = strdup(value);
	if (disk_name == NULL) {
		nbdkit_error("out of memory");
		return -1;
	}
	for (p = disk_name; *p != '\0'; p++) {
		if (*p == '\\') {
			*p = '/';
		}
	}
	if (strncmp(disk_name, "//", 2) == 0) {
		share = strchr(disk_name + 2, '/');
	}
	if (share != NULL) {
		path = strchr(share + 1, '/');
	}
	if (path == NULL || path[1] == '\0') {
		nbdkit_error("not of the form //server/share/path: %s", value);
		return -1;
	}
	*share = '\0';
	*path = '\0';
	params.connect.server = disk_name + 2;
	params.connect.share = share + 1;
	params.path = path + 1;
	return 0;
}

static int rsvd_config_bool(const char *value, enum librsvd_setting *setting)
{
	int b = nbdkit_parse_bool(value);

	if (b == -1) {
		return -1;
	}
	*setting = b ? LIBRSVD_REQUIRED : LIBRSVD_OFF;
	return 0;
}

static int rsvd_config(const char *key, const char *value)
{
	const struct {
		const char *key;
		const char **text;
	} texts[] = {
		{ "server", &params.connect.server },
		{ "share", &params.connect.share },
		{ "path", &params.path },
		{ "user", &params.connect.user },
		{ "domain", &params.connect.domain },
		{ "host-name", &params.host_name },
		{ "config-file", &params.connect.config_file },
	};
	size_t i;
	int b;

	for (i = 0; i < ARRAY_SIZE(texts); i++) {
		if (strcmp(key, texts[i].key) == 0) {
			/* nbdkit keeps the value until it exits. */
			*texts[i].text = value;
			return 0;
		}
	}
	if (strcmp(key, "disk") == 0) {
		return rsvd_config_disk(value);
	}
	if (strcmp(key, "password") == 0) {
		free(password);
		if (nbdkit_read_password(value, &password) == -1) {
			return -1;
		}
		params.connect.password = password;
		return 0;
	}
	if (strcmp(key, "port") == 0) {
		return nbdkit_parse_uint16_t(key, value,
					     &params.connect.port);
	}
	if (strcmp(key, "initiator-id") == 0) {
		if (!librsvd_guid_parse(value, &params.initiator_id)) {
			nbdkit_error("initiator-id is no GUID: %s", value);
			return -1;
		}
		have_initiator_id = true;
		return 0;
	}
	if (strcmp(key, "protocol-version") == 0) {
		if (nbdkit_parse_unsigned(key, value, &params.version) == -1) {
			return -1;
		}
		if (params.version < 1 || params.version > 2) {
			nbdkit_error("protocol-version is 1 or 2");
			return -1;
		}
		return 0;
	}
	if (strcmp(key, "encrypt") == 0) {
		return rsvd_config_bool(value, &params.connect.encryption);
	}
	if (strcmp(key, "kerberos") == 0) {
		return rsvd_config_bool(value, &params.connect.kerberos);
	}
	if (strcmp(key, "write-through") == 0) {
		b = nbdkit_parse_bool(value);
		if (b == -1) {
			return -1;
		}
		params.write_through = b;
		return 0;
	}
	if (strcmp(key, "timeout") == 0) {
		unsigned int sec;

		if (nbdkit_parse_unsigned(key, value, &sec) == -1) {
			return -1;
		}
		if (sec < 1 || sec > UINT32_MAX / 1000) {
			nbdkit_error("timeout is at least 1 second");
			return -1;
		}
		params.connect.timeout_msec = sec * 1000;
		return 0;
	}
	if (strcmp(key, "reconnect-timeout") == 0) {
		return nbdkit_parse_unsigned(key, value,
					     &params.reconnect_timeout_sec);
	}
	nbdkit_error("unknown parameter: %s", key);
	return -1;
}

static int rsvd_config_complete(void)
{
	if (params.connect.server == NULL || params.connect.share == NULL ||
	    params.path == NULL) {
		nbdkit_error("name a disk: //server/share/path, or server=, "
			     "share= and path=");
		return -1;
	}
	if (!have_initiator_id) {
		params.initiator_id = librsvd_guid_random();
	}
	return 0;
}

#define rsvd_config_help \
	"//SERVER/SHARE/PATH         The disk; or the next three\n" \
	"server=SERVER               \n" \
	"share=SHARE                 \n" \
	"path=PATH                   From the root of the share\n" \
	"user=USER                   Default: anonymous\n" \
	"password=PASSWORD           Or - asks for it, +FILE, -FD\n" \
	"domain=DOMAIN               \n" \
	"kerberos=true|false         \n" \
	"encrypt=true|false          \n" \
	"port=PORT                   Default: 445\n" \
	"initiator-id=GUID           Default: random\n" \
	"host-name=NAME              What the server shows for us\n" \
	"protocol-version=1|2        Default: 2\n" \
	"write-through=true|false    Writes are stable when they are done\n" \
	"timeout=SECONDS             Of a request to the server; default 60\n" \
	"reconnect-timeout=SECONDS   Hold I/O so long without it; default 60\n" \
	"config-file=FILE            smb.conf"

/*
 * The disk. Nothing of Samba's may run before nbdkit has forked: its event
 * loop and its connections would be the parent's.
 */

static int rsvd_after_fork(void)
{
	return rsvd_nbd_session_start(&params);
}

static void rsvd_cleanup(void)
{
	rsvd_nbd_session_stop();
}

static void *rsvd_open(int readonly)
{
	return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t rsvd_get_size(void *handle)
{
	return rsvd_nbd_geometry()->size;
}

static int rsvd_block_size(void *handle, uint32_t *minimum,
			   uint32_t *preferred, uint32_t *maximum)
{
	*minimum = rsvd_nbd_geometry()->sector_size;
	*preferred = MAX(rsvd_nbd_geometry()->physical_sector_size, 4096);
	*maximum = UINT32_MAX;
	return 0;
}

static int rsvd_can_write(void *handle)
{
	return rsvd_nbd_geometry()->writable;
}

static int rsvd_yes(void *handle)
{
	return 1;
}

static int rsvd_can_fua(void *handle)
{
	return NBDKIT_FUA_NATIVE;
}

static int rsvd_can_trim(void *handle)
{
	return rsvd_nbd_geometry()->unmap;
}

static int rsvd_can_zero(void *handle)
{
	/* Where this is false nbdkit writes zeros. */
	return rsvd_nbd_geometry()->write_same;
}

static int rsvd_can_fast_zero(void *handle)
{
	/* What rsvd_zero() says to that comes at once. */
	return 1;
}

static int rsvd_can_extents(void *handle)
{
	return rsvd_nbd_geometry()->lba_status;
}

static int rsvd_execute(struct rsvd_nbd_request *request)
{
	uint32_t sector_size = rsvd_nbd_geometry()->sector_size;

	if (request->offset % sector_size != 0 ||
	    request->count % sector_size != 0) {
		/* block_size says so; there is a filter for who can't. */
		nbdkit_error("not a multiple of the sector size, %u bytes: "
			     "add --filter=blocksize", sector_size);
		nbdkit_set_error(EINVAL);
		return -1;
	}
	rsvd_nbd_execute(request);
	if (request->err != 0) {
		nbdkit_set_error(request->err);
		return -1;
	}
	return 0;
}

static int rsvd_pread(void *handle, void *buf, uint32_t count,
		      uint64_t offset, uint32_t flags)
{
	struct rsvd_nbd_request request = {
		.operation = RSVD_NBD_READ,
		.buf = buf,
		.count = count,
		.offset = offset,
		.flags = flags,
	};

	return rsvd_execute(&request);
}

static int rsvd_pwrite(void *handle, const void *buf, uint32_t count,
		       uint64_t offset, uint32_t flags)
{
	struct rsvd_nbd_request request = {
		.operation = RSVD_NBD_WRITE,
		.buf = discard_const(buf),
		.count = count,
		.offset = offset,
		.flags = flags,
	};

	return rsvd_execute(&request);
}

static int rsvd_flush(void *handle, uint32_t flags)
{
	struct rsvd_nbd_request request = {
		.operation = RSVD_NBD_FLUSH,
	};

	return rsvd_execute(&request);
}

static int rsvd_trim(void *handle, uint32_t count, uint64_t offset,
		     uint32_t flags)
{
	struct rsvd_nbd_request request = {
		.operation = RSVD_NBD_TRIM,
		.count = count,
		.offset = offset,
		.flags = flags,
	};

	return rsvd_execute(&request);
}

static int rsvd_zero(void *handle, uint32_t count, uint64_t offset,
		     uint32_t flags)
{
	struct rsvd_nbd_request request = {
		.operation = RSVD_NBD_ZERO,
		.count = count,
		.offset = offset,
		.flags = flags,
	};

	/*
	 * WRITE SAME is fast for certain where it unmaps. Without, a disk may
	 * as well write the zeros, once more before the data of this client.
	 */
	if ((flags & NBDKIT_FLAG_FAST_ZERO) != 0 &&
	    ((flags & NBDKIT_FLAG_MAY_TRIM) == 0 ||
	     !rsvd_nbd_geometry()->write_same_unmap)) {
		nbdkit_debug("zeroing would not be fast");
		nbdkit_set_error(EOPNOTSUPP);
		return -1;
	}
	return rsvd_execute(&request);
}

static int rsvd_extents(void *handle, uint32_t count, uint64_t offset,
			uint32_t flags, struct nbdkit_extents *extents)
{
	struct rsvd_nbd_request request = {
		.operation = RSVD_NBD_EXTENTS,
		.count = count,
		.offset = offset,
		.flags = flags,
	};
	size_t i;
	int ret;

	ret = rsvd_execute(&request);
	for (i = 0; ret == 0 && i < request.num_extents; i++) {
		ret = nbdkit_add_extent(extents, request.extents[i].offset,
					request.extents[i].length,
					request.extents[i].type);
	}
	free(request.extents);
	return ret;
}

static struct nbdkit_plugin plugin = {
	.name = "rsvd",
	.longname = "nbdkit shared virtual disk plugin",
	.description = "A VHDX that several hosts share by the Remote Shared "
		       "Virtual Disk Protocol (MS-RSVD)",
	.version = VFS_RSVD_VERSION,
	.unload = rsvd_unload,
	.config = rsvd_config,
	.config_complete = rsvd_config_complete,
	.config_help = rsvd_config_help,
	.magic_config_key = "disk",
	.after_fork = rsvd_after_fork,
	.cleanup = rsvd_cleanup,
	.open = rsvd_open,
	.get_size = rsvd_get_size,
	.block_size = rsvd_block_size,
	.can_write = rsvd_can_write,
	.can_flush = rsvd_yes,
	.can_trim = rsvd_can_trim,
	.can_zero = rsvd_can_zero,
	.can_fast_zero = rsvd_can_fast_zero,
	.can_fua = rsvd_can_fua,
	.can_multi_conn = rsvd_yes,
	.can_extents = rsvd_can_extents,
	.pread = rsvd_pread,
	.pwrite = rsvd_pwrite,
	.flush = rsvd_flush,
	.trim = rsvd_trim,
	.zero = rsvd_zero,
	.extents = rsvd_extents,
};

NBDKIT_REGISTER_PLUGIN(plugin)
