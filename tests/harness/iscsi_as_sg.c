/*
 * vfs_rsvd: iSCSI targets that are SG_IO devices
 *
 * libiscsi's conformance suite runs its tests of reservations on two iSCSI
 * sessions only. Preloaded into it, this has the target "rsvdN" on
 * /dev/rsvdN: what the suite sends to iscsi://any/rsvd0/0 goes there. There
 * are no sessions and no PDUs, so tests of these cannot be run this way.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include <dlfcn.h>
#include <fcntl.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <scsi/sg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* The function that this one stands in front of */
#define NEXT(name) \
	((__typeof__(name) *)dlsym(RTLD_NEXT, #name))

static struct session {
	struct iscsi_context *context;
	int fd;
} sessions[16];

static struct session *session_find(struct iscsi_context *context)
{
	size_t i;

	for (i = 0; i < sizeof(sessions) / sizeof(sessions[0]); i++) {
		if (sessions[i].context == context) {
			return &sessions[i];
		}
	}
	return NULL;
}

int iscsi_set_targetname(struct iscsi_context *context, const char *name)
{
	struct session *session = session_find(NULL);
	char device[64];

	if (session == NULL) {
		return -1;
	}
	snprintf(device, sizeof(device), "/dev/%s", name);
	*session = (struct session) {
		.context = context,
		.fd = open(device, O_RDWR),
	};
	return NEXT(iscsi_set_targetname)(context, name);
}

int iscsi_full_connect_sync(struct iscsi_context *context, const char *portal,
			    int lun)
{
	const struct session *session = session_find(context);

	return session != NULL && session->fd != -1 ? 0 : -1;
}

static void session_end(struct iscsi_context *context)
{
	struct session *session = session_find(context);

	if (session != NULL) {
		close(session->fd);
		session->context = NULL;
	}
}

int iscsi_logout_sync(struct iscsi_context *context)
{
	session_end(context);
	return 0;
}

int iscsi_destroy_context(struct iscsi_context *context)
{
	session_end(context);
	return NEXT(iscsi_destroy_context)(context);
}

int iscsi_service(struct iscsi_context *context, int events)
{
	return 0;
}

/* All of the data, which the suite has in one or more pieces */
static unsigned char *data_out_join(const struct scsi_task *task,
				    size_t *length)
{
	const struct scsi_iovector *out = &task->iovector_out;
	unsigned char *data = NULL;
	int i;

	*length = 0;
	for (i = 0; i < out->niov; i++) {
		*length += out->iov[i].iov_len;
	}
	data = malloc(*length + 1);
	if (data == NULL) {
		return NULL;
	}
	*length = 0;
	for (i = 0; i < out->niov; i++) {
		memcpy(data + *length, out->iov[i].iov_base,
		       out->iov[i].iov_len);
		*length += out->iov[i].iov_len;
	}
	return data;
}

/* To where the suite has given a place, else into a buffer of the task */
static void data_in_give(struct scsi_task *task, unsigned char *data,
			 size_t length)
{
	const struct scsi_iovector *in = &task->iovector_in;
	size_t done = 0;
	int i;

	if (in->niov == 0) {
		task->datain.data = data;
		task->datain.size = length;
		return;
	}
	for (i = 0; i < in->niov && done < length; i++) {
		size_t chunk = in->iov[i].iov_len;

		if (chunk > length - done) {
			chunk = length - done;
		}
		memcpy(in->iov[i].iov_base, data + done, chunk);
		done += chunk;
	}
	free(data);
}

struct scsi_task *iscsi_scsi_command_sync(struct iscsi_context *context,
					  int lun, struct scsi_task *task,
					  struct iscsi_data *data)
{
	const struct session *session = session_find(context);
	unsigned char sense[32] = { 0 };
	unsigned char *buf = NULL;
	size_t length = 0;
	sg_io_hdr_t hdr = {
		.interface_id = 'S',
		.dxfer_direction = SG_DXFER_NONE,
		.cmdp = task->cdb,
		.cmd_len = task->cdb_size,
		.sbp = sense,
		.mx_sb_len = sizeof(sense),
	};

	if (task->xfer_dir == SCSI_XFER_WRITE) {
		hdr.dxfer_direction = SG_DXFER_TO_DEV;
		buf = data_out_join(task, &length);
	} else if (task->xfer_dir == SCSI_XFER_READ) {
		hdr.dxfer_direction = SG_DXFER_FROM_DEV;
		length = task->expxferlen;
		buf = calloc(1, length + 1);
	}
	hdr.dxferp = buf;
	hdr.dxfer_len = length;
	if (session == NULL || ioctl(session->fd, SG_IO, &hdr) != 0) {
		free(buf);
		return NULL;
	}

	task->status = hdr.status;
	task->residual = hdr.resid;
	task->residual_status = hdr.resid != 0 ?
		SCSI_RESIDUAL_UNDERFLOW : SCSI_RESIDUAL_NO_RESIDUAL;
	if (hdr.sb_len_wr != 0) {
		scsi_parse_sense_data(&task->sense, sense);
	}
	if (task->xfer_dir == SCSI_XFER_READ) {
		data_in_give(task, buf, length - hdr.resid);
	} else {
		free(buf);
	}
	return task;
}

struct scsi_task *iscsi_testunitready_sync(struct iscsi_context *context,
					   int lun)
{
	struct scsi_task *task = scsi_cdb_testunitready();

	return task != NULL ?
		iscsi_scsi_command_sync(context, lun, task, NULL) : NULL;
}
