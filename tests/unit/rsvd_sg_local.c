/*
 * vfs_rsvd: the SG_IO devices on a disk in the program's own memory
 *
 * The device server alone, without SMB and without a server: for its tests
 * with programs that others wrote.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "tests/unit/scsi_memory_disk.h"
#include "source3/rsvd_sg/rsvd_sg.h"

/* Of the environment */
#define LOCAL_MEGABYTES "RSVD_SG_LOCAL_MEGABYTES"
#define LOCAL_SECTOR_SIZE "RSVD_SG_LOCAL_SECTOR_SIZE"
#define LOCAL_PHYSICAL_SECTOR_SIZE "RSVD_SG_LOCAL_PHYSICAL_SECTOR_SIZE"
#define LOCAL_FIXED "RSVD_SG_LOCAL_FIXED"

static struct scsi_memory_disk *local_disk;

static unsigned long local_setting(const char *name, unsigned long value)
{
	const char *s = getenv(name);

	return s != NULL ? strtoul(s, NULL, 0) : value;
}

static unsigned local_num_paths(void)
{
	return RSVD_SG_MAX_PATHS;
}

static void *local_open(unsigned path)
{
	struct scsi_nexus *nexus = NULL;

	if (local_disk == NULL) {
		uint32_t lbs = local_setting(LOCAL_SECTOR_SIZE, 512);
		uint64_t size = local_setting(LOCAL_MEGABYTES, 128) << 20;

		local_disk = scsi_memory_disk_init(
			NULL, size / lbs, lbs,
			local_setting(LOCAL_FIXED, 0) == 0);
	}
	if (local_disk == NULL) {
		errno = ENOMEM;
		return NULL;
	}
	local_disk->scsi.physical_sector_size =
		local_setting(LOCAL_PHYSICAL_SECTOR_SIZE, 4096);

	nexus = talloc_zero(local_disk, struct scsi_nexus);
	if (nexus == NULL) {
		errno = ENOMEM;
		return NULL;
	}
	nexus->initiator_id.time_low = 1 + path;
	nexus->host_name = "local";
	nexus->may_write = true;
	scsi_memory_disk_open(local_disk, nexus);
	return nexus;
}

static void local_close(void *handle)
{
	struct scsi_nexus *nexus = handle;

	scsi_memory_disk_close(local_disk, nexus);
	TALLOC_FREE(nexus);
}

static int local_execute(void *handle, struct rsvd_sg_command *command)
{
	struct scsi_task task = {
		.cdb = command->cdb,
		.cdb_length = command->cdb_length,
	};

	if (command->is_write) {
		task.data_out = command->data;
		task.data_out_length = command->data_length;
	}
	if (command->is_read) {
		task.data_in = command->data;
		task.data_in_size = command->data_length;
	}
	scsi_execute(&local_disk->scsi, handle, &task);

	command->status = task.status;
	command->sense_length = task.sense_length;
	memcpy(command->sense, task.sense, task.sense_length);
	command->transferred = command->is_read ? task.data_in_length :
		command->data_length;
	return 0;
}

const struct rsvd_sg_backend rsvd_sg_backend = {
	.num_paths = local_num_paths,
	.open = local_open,
	.execute = local_execute,
	.close = local_close,
	.max_transfer_length = SCSI_MAX_TRANSFER_LENGTH,
};
