/*
 * vfs_rsvd: a disk to open, for tests
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "system/filesys.h"
#include "librpc/ndr/libndr.h"
#include "librpc/gen_ndr/ndr_misc.h"
#include "librpc/gen_ndr/ndr_rsvd.h"
#include "tests/unit/rsvd_fixture.h"

const struct GUID rsvd_fixture_initiator[RSVD_FIXTURE_PROCESSES] = {
	{ .time_low = 1, }, { .time_low = 2, }, { .time_low = 3, },
	{ .time_low = 4, },
};

static bool is_alive(const struct server_id *id, void *private_data)
{
	struct rsvd_fixture *f = private_data;

	return !f->dead[id->pid - 1000];
}

static struct db_context *open_db(struct rsvd_fixture *f, const char *name,
				  int flags)
{
	char *path = talloc_asprintf(f, "%s/%s", f->dir, name);
	struct db_context *db = NULL;

	db = dbwrap_local_open(f, path, 0, flags | TDB_INCOMPATIBLE_HASH,
			       O_RDWR|O_CREAT, 0600,
			       DBWRAP_LOCK_ORDER_NONE, DBWRAP_FLAG_NONE);
	talloc_free(path);
	return db;
}

static bool create_image(struct rsvd_fixture *f, bool fixed)
{
	struct vhdx_create_params params = {
		.virtual_size = RSVD_FIXTURE_DISK_SIZE,
		.block_size = 1024 * 1024,
		.fixed = fixed,
	};
	char *path = talloc_asprintf(f, "%s/disk.vhdx", f->dir);
	NTSTATUS status;
	int ret;

	ret = vhdx_storage_posix_open(f, path, O_RDWR|O_CREAT|O_EXCL,
				      &f->storage);
	talloc_free(path);
	if (ret != 0) {
		return false;
	}
	status = vhdx_create(f->storage, &params);
	if (!NT_STATUS_IS_OK(status)) {
		return false;
	}
	status = vhdx_open(f, f->storage, NULL, 0, &f->image, NULL);
	return NT_STATUS_IS_OK(status);
}

struct rsvd_fixture *rsvd_fixture_init(bool fixed)
{
	struct rsvd_fixture *f = talloc_zero(NULL, struct rsvd_fixture);
	int i;

	if (f == NULL) {
		return NULL;
	}
	snprintf(f->dir, sizeof(f->dir), "/tmp/test_rsvd.XXXXXX");
	if (mkdtemp(f->dir) == NULL) {
		talloc_free(f);
		return NULL;
	}

	f->db = open_db(f, "rsvd.tdb", TDB_CLEAR_IF_FIRST|TDB_SEQNUM);
	f->reservations_db = open_db(f, "rsvd_reservations.tdb", TDB_NOSYNC);
	f->lock_db = open_db(f, "rsvd_locks.tdb", TDB_CLEAR_IF_FIRST);
	if (f->db == NULL || f->reservations_db == NULL ||
	    f->lock_db == NULL || !create_image(f, fixed))
	{
		rsvd_fixture_free(f);
		return NULL;
	}

	f->file_id = (struct file_id) { .devid = 1, .inode = 2, };
	f->boot_id.time_low = 4711;
	for (i = 0; i < RSVD_FIXTURE_PROCESSES; i++) {
		struct server_id id = {
			.pid = 1000 + i, .vnn = NONCLUSTER_VNN,
		};

		f->process[i] = rsvd_disk_init(f, f->db, &f->file_id, id,
					       is_alive, f);
		rsvd_disk_set_persistent(
			f->process[i], f->reservations_db,
			&vhdx_geometry(f->image)->virtual_disk_id,
			&f->boot_id);
	}

	return f;
}

void rsvd_fixture_free(struct rsvd_fixture *f)
{
	static const char * const names[] = {
		"rsvd.tdb", "rsvd_reservations.tdb", "rsvd_locks.tdb",
		"disk.vhdx",
	};
	size_t i;

	if (f->image != NULL) {
		vhdx_close(&f->image);
	}
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		char *path = talloc_asprintf(f, "%s/%s", f->dir, names[i]);

		unlink(path);
	}
	rmdir(f->dir);
	talloc_free(f);
}

struct rsvd_fixture_open rsvd_fixture_default_open(int process)
{
	return (struct rsvd_fixture_open) {
		.process = process,
		.initiator = rsvd_fixture_initiator[process],
		.context_version = RSVD_ECP_CONTEXT_VERSION_2,
		.server_version = RSVD_PROTOCOL_VERSION_2,
		.originator = SVHDX_ORIGINATOR_PVHDPARSER,
		.create_options = 0x8, /* FILE_NO_INTERMEDIATE_BUFFERING */
		.may_read = true,
		.may_write = true,
		.file_name = "dir/disk.vhdx",
	};
}

struct rsvd_open *rsvd_fixture_open(struct rsvd_fixture *f,
				    const struct rsvd_fixture_open *o)
{
	struct svhdx_open_device_context_v2 wire = {
		.v1.version = o->context_version,
		.v1.has_initiator_id = !GUID_all_zero(&o->initiator),
		.v1.initiator_id = o->initiator,
		.v1.originator_flags = o->originator,
		.v1.open_request_id = 0x1122,
		.v1.initiator_host_name_length = 4,
		.v1.initiator_host_name = { 'h', 0, '1', 0, },
	};
	struct rsvd_open_context *context = NULL;
	struct rsvd_open_params params;
	struct rsvd_disk_open entry;
	DATA_BLOB blob;

	ndr_push_struct_blob(
		&blob, f, &wire,
		(ndr_push_flags_fn_t)ndr_push_svhdx_open_device_context_v2);
	if (!NT_STATUS_IS_OK(rsvd_open_context_parse(f, o->server_version,
						     &blob, &context)))
	{
		return NULL;
	}

	f->next_open_id += 1;
	entry = (struct rsvd_disk_open) {
		.open_id = f->next_open_id,
		.initiator_id = context->initiator_id,
		.originator = context->originator,
		.protocol_version = context->version,
		.raw = context->raw,
		.host_name = context->host_name,
	};
	if (!NT_STATUS_IS_OK(rsvd_disk_add_open(f->process[o->process],
						&entry)))
	{
		return NULL;
	}

	params = (struct rsvd_open_params) {
		.server_version = o->server_version,
		.context = context,
		.file_name = o->file_name,
		.create_options = o->create_options,
		.may_read = o->may_read,
		.may_write = o->may_write,
		.disk = f->process[o->process],
		.image = context->raw ? NULL : f->image,
		.storage = f->storage,
		.lock_db = f->lock_db,
	};
	return rsvd_open_init(f, &params);
}
