/*
 * vfs_rsvd: what the tests beside a private smbd have in common
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _ATTACH_H_
#define _ATTACH_H_

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "librsvd.h"
#include "modules/vhdx/vhdx.h"

#define MIB (1024 * 1024)

/* The status by its name, or the test fails. */
#define assert_status(got, wanted) \
	do { \
		char *_got = librsvd_status_string(NULL, (got)); \
		char *_wanted = librsvd_status_string(NULL, (wanted)); \
		assert_string_equal(_got, _wanted); \
		talloc_free(_got); \
		talloc_free(_wanted); \
	} while (0)

#define assert_ok(got) assert_status(got, NT_STATUS_OK)

static inline const char *attach_env(const char *name)
{
	const char *value = getenv(name);

	if (value == NULL) {
		fprintf(stderr, "%s is not set: run this by ./waf test\n",
			name);
		exit(1);
	}
	return value;
}

/* The path of a file on the share, as this host sees it. */
static inline char *attach_path(TALLOC_CTX *mem_ctx, const char *name)
{
	return talloc_asprintf(mem_ctx, "%s/%s", attach_env("LOCAL_PATH"),
			       name);
}

/* Put a new, empty image on the share. */
static inline void attach_image(const char *name, uint64_t size)
{
	struct vhdx_create_params params = {
		.virtual_size = size,
		.block_size = MIB,
	};
	char *path = attach_path(NULL, name);
	struct vhdx_storage *storage = NULL;

	assert_int_equal(vhdx_storage_posix_open(NULL, path,
						 O_RDWR | O_CREAT | O_EXCL,
						 &storage),
			 0);
	assert_ok(vhdx_create(storage, &params));
	talloc_free(storage);
	assert_int_equal(chmod(path, 0666), 0);
	talloc_free(path);
}

/* A connection: with smbd, a process of its own. */
static inline struct librsvd_conn *attach_connect_share(
	TALLOC_CTX *mem_ctx, struct tevent_context *ev, const char *user,
	const char *share)
{
	struct librsvd_connect_params params = {
		.server = attach_env("SERVER_IP"),
		.port = atoi(attach_env("SERVER_PORT")),
		.share = share,
		.user = user,
		.password = attach_env("PASSWORD"),
		.config_file = strchr(attach_env("CONFIGURATION"), ' ') + 1,
	};
	struct librsvd_conn *conn = NULL;

	assert_ok(librsvd_connect(mem_ctx, ev, &params, &conn));
	return conn;
}

static inline struct librsvd_conn *attach_connect_as(TALLOC_CTX *mem_ctx,
						     struct tevent_context *ev,
						     const char *user)
{
	return attach_connect_share(mem_ctx, ev, user, attach_env("SHARE"));
}

static inline struct librsvd_conn *attach_connect(TALLOC_CTX *mem_ctx,
						  struct tevent_context *ev)
{
	return attach_connect_as(mem_ctx, ev, attach_env("USERNAME"));
}

/*
 * Open a disk as an initiator, or one of its own. It shares with everybody, so
 * that it is not the share modes of SMB that keep others out.
 */
static inline NTSTATUS attach_open_as(TALLOC_CTX *mem_ctx,
				      struct librsvd_conn *conn,
				      const char *name, uint32_t originator,
				      const struct librsvd_guid *initiator,
				      struct librsvd_disk **disk)
{
	struct librsvd_open_params params = {
		.path = name,
		.initiator_id = initiator,
		.originator = originator,
		.share_access = 0x7,	/* read, write, delete */
	};

	return librsvd_open(mem_ctx, conn, &params, disk);
}

static inline NTSTATUS attach_open(TALLOC_CTX *mem_ctx,
				   struct librsvd_conn *conn, const char *name,
				   uint32_t originator,
				   struct librsvd_disk **disk)
{
	struct librsvd_guid initiator = librsvd_guid_random();

	return attach_open_as(mem_ctx, conn, name, originator, &initiator,
			      disk);
}

#endif /* _ATTACH_H_ */
