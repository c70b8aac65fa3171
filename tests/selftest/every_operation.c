/*
 * Send every operation that there is: traffic for others to look at.
 *
 * Says what each returned, but expects nothing: what is right depends on the
 * disk, and other tests know that. Fails when the connection does.
 *
 * usage: every_operation DISK [VERSION]
 *
 * How to reach the server is taken from the environment of ./waf selftest.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "includes.h"
#include "source3/librsvd/librsvd.h"
#include "tests/harness/connect.h"

static void print_status(const char *what, NTSTATUS status)
{
	printf("# %-36s %s\n", what,
	       librsvd_status_string(talloc_tos(), status));
}

static NTSTATUS attach(TALLOC_CTX *mem_ctx, const char *path,
		       unsigned int version, struct librsvd_conn **conn,
		       struct librsvd_disk **disk)
{
	struct librsvd_connect_params connect_params =
		harness_connect_params();
	struct librsvd_guid initiator = librsvd_guid_random();
	struct librsvd_open_params open_params = {
		.path = path,
		.version = version,
		.initiator_id = &initiator,
		.host_name = "every-operation",
	};
	NTSTATUS status;

	connect_params.encryption = LIBRSVD_OFF;
	status = librsvd_connect(mem_ctx, NULL, &connect_params, conn);
	if (!NT_STATUS_IS_OK(status)) {
		return status;
	}
	return librsvd_open(mem_ctx, *conn, &open_params, disk);
}

static void scsi(struct librsvd_disk *disk, const char *name,
		 const uint8_t *cdb, size_t cdb_length,
		 const uint8_t *data_out, uint32_t data_out_length,
		 uint32_t data_in_length)
{
	struct librsvd_scsi_command command = {
		.cdb = cdb,
		.cdb_length = cdb_length,
		.data_out = data_out,
		.data_out_length = data_out_length,
		.data_in_length = data_in_length,
	};
	struct librsvd_scsi_result result = { .data_in_length = 0 };

	print_status(name, librsvd_scsi(talloc_tos(), disk, &command,
					&result));
}

static void version_1(struct librsvd_disk *disk)
{
	static const uint8_t inquiry[] = { 0x12, 0, 0, 0, 96, 0 };
	static const uint8_t write_10[] = { 0x2a, 0, 0, 0, 0, 8, 0, 0, 1, 0 };
	static const uint8_t read_16[16] = { [0] = 0x88, [13] = 1 };
	static const uint8_t unknown[] = { 0xc1, 0, 0, 0, 0, 0 };
	uint8_t data[4096];
	struct librsvd_support support;
	struct librsvd_initial_info initial = { .virtual_size = 0 };
	struct librsvd_disk_info info;
	struct librsvd_sense sense;
	bool is_valid;
	NTSTATUS status;

	generate_random_buffer(data, sizeof(data));

	print_status("QUERY_SHARED_VIRTUAL_DISK_SUPPORT",
		     librsvd_query_support(disk, &support));
	print_status("GET_INITIAL_INFO",
		     librsvd_initial_info(disk, &initial));
	print_status("CHECK_CONNECTION_STATUS",
		     librsvd_check_connection(disk));
	print_status("GET_DISK_INFO", librsvd_disk_info(disk, &info));
	print_status("VALIDATE_DISK", librsvd_validate(disk, &is_valid));

	scsi(disk, "SCSI, data in", inquiry, sizeof(inquiry), NULL, 0, 96);
	scsi(disk, "SCSI, data out", write_10, sizeof(write_10), data, 512, 0);
	scsi(disk, "SCSI, 16 byte CDB", read_16, sizeof(read_16), NULL, 0,
	     512);
	scsi(disk, "SCSI, with sense", unknown, sizeof(unknown), NULL, 0, 0);

	print_status("WRITE", librsvd_write(disk, data, sizeof(data), 0, 0));
	print_status("READ", librsvd_read(disk, data, sizeof(data), 0, NULL));
	print_status("FLUSH", librsvd_flush(disk));
	status = librsvd_write(disk, data, sizeof(data), initial.virtual_size,
			       0);
	print_status("WRITE, past the end", status);
	print_status("SRB_STATUS",
		     librsvd_sense_of_status(disk, status, &sense));
	print_status("SRB_STATUS, of no key",
		     librsvd_srb_status(disk, 0xEE, &sense));
}

static void meta_operations(struct librsvd_disk *disk)
{
	struct librsvd_guid transaction = librsvd_guid_random();
	struct librsvd_guid snapshot = librsvd_guid_random();
	struct librsvd_meta_operation operations[] = {
		{
			.type = LIBRSVD_META_RESIZE,
			.resize = {
				.new_size = 16 * 1024 * 1024,
				.expand_only = true,
			},
		},
		{
			.type = LIBRSVD_META_CREATE_SNAPSHOT,
			.create_snapshot = {
				.snapshot_type = LIBRSVD_SNAPSHOT_VM,
				.stages = { LIBRSVD_STAGE_INITIALIZE },
				.snapshot_id = snapshot,
			},
		},
		{ .type = LIBRSVD_META_OPTIMIZE },
		{
			.type = LIBRSVD_META_EXTRACT,
			.extract = {
				.snapshot_type = LIBRSVD_SNAPSHOT_VM,
				.source_snapshot_id = snapshot,
				.destination = "extracted.vhdx",
			},
		},
		{
			.type = LIBRSVD_META_CONVERT_TO_VHDSET,
			.convert_to_vhdset.destination = "converted.vhds",
		},
		{
			.type = LIBRSVD_META_APPLY_SNAPSHOT,
			.apply_snapshot = {
				.snapshot_type = LIBRSVD_SNAPSHOT_VM,
				.snapshot_id = snapshot,
			},
		},
	};
	static const char *const names[] = {
		"META_OPERATION_START, resize",
		"META_OPERATION_START, snapshot",
		"META_OPERATION_START, optimize",
		"META_OPERATION_START, extract",
		"META_OPERATION_START, convert",
		"META_OPERATION_START, apply",
	};
	uint64_t current, complete;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(operations); i++) {
		print_status(names[i],
			     librsvd_meta_operation(disk, &transaction,
						    &operations[i], NULL));
		print_status("META_OPERATION_QUERY_PROGRESS",
			     librsvd_meta_progress(disk, &transaction,
						   &current, &complete));
	}
}

static void version_2(struct librsvd_disk *disk)
{
	static const struct {
		enum librsvd_vhdset_information_type type;
		enum librsvd_snapshot_type snapshot_type;
	} queries[] = {
		{ LIBRSVD_VHDSET_SNAPSHOT_LIST, LIBRSVD_SNAPSHOT_VM },
		{ LIBRSVD_VHDSET_SNAPSHOT_ENTRY, LIBRSVD_SNAPSHOT_VM },
		{ LIBRSVD_VHDSET_OPTIMIZE_NEEDED, LIBRSVD_SNAPSHOT_NONE },
		{ LIBRSVD_VHDSET_CDP_SNAPSHOT_ROOT, LIBRSVD_SNAPSHOT_CDP },
		{ LIBRSVD_VHDSET_CDP_SNAPSHOT_ACTIVE_LIST,
		  LIBRSVD_SNAPSHOT_CDP },
		{ LIBRSVD_VHDSET_CDP_SNAPSHOT_INACTIVE_LIST,
		  LIBRSVD_SNAPSHOT_CDP },
	};
	struct librsvd_guid id = librsvd_guid_random();
	struct librsvd_change_tracking_params tracking = {
		.transaction_id = id,
		.log_file_id = id,
	};
	struct librsvd_range *ranges = NULL;
	uint64_t size, processed;
	uint32_t change_tracking;
	size_t num_ranges, i;

	print_status("QUERY_SAFE_SIZE", librsvd_safe_size(disk, &size));
	for (i = 0; i < ARRAY_SIZE(queries); i++) {
		struct librsvd_vhdset_information information;
		char *name = talloc_asprintf(
			talloc_tos(), "VHDSET_QUERY_INFORMATION, type %d",
			(int)queries[i].type);

		print_status(name, librsvd_vhdset_query(
			talloc_tos(), disk, queries[i].type,
			queries[i].snapshot_type, &id, &information));
	}
	print_status("CHANGE_TRACKING_START",
		     librsvd_change_tracking_start(disk, &tracking));
	print_status("CHANGE_TRACKING_GET_PARAMETERS",
		     librsvd_change_tracking_get(disk, &change_tracking,
						 &size));
	print_status("QUERY_VIRTUAL_DISK_CHANGES",
		     librsvd_query_changes(talloc_tos(), disk, &id, &id, 0,
					   1 << 20, 8, &processed, &ranges,
					   &num_ranges));
	print_status("CHANGE_TRACKING_STOP",
		     librsvd_change_tracking_stop(disk, &change_tracking));
	print_status("DELETE_SNAPSHOT",
		     librsvd_delete_snapshot(disk, &id, LIBRSVD_SNAPSHOT_VM,
					     false));
	meta_operations(disk);
}

int main(int argc, char *argv[])
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct librsvd_conn *conn = NULL;
	struct librsvd_disk *disk = NULL;
	unsigned int version = 2;
	NTSTATUS status;
	bool ok = false;

	if (argc < 2) {
		fprintf(stderr, "usage: every_operation DISK [VERSION]\n");
		goto done;
	}
	if (argc > 2) {
		version = atoi(argv[2]);
	}

	status = attach(frame, argv[1], version, &conn, &disk);
	print_status("open", status);
	if (!NT_STATUS_IS_OK(status)) {
		goto done;
	}
	version_1(disk);
	if (version > 1) {
		version_2(disk);
	}
	print_status("CLOSE", librsvd_close(disk));
	ok = librsvd_conn_is_connected(conn);
done:
	TALLOC_FREE(frame);
	return ok ? 0 : 1;
}
