/*
 * rsvdctl: disks on a server
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "source3/utils/rsvdctl.h"
#include "lib/util/bytearray.h"
#include "source3/utils/rsvdctl_machine.h"

static struct {
	int port;
	int version;
	const char *initiator_id;
	const char *host_name;
} remote_opts;

struct poptOption rsvdctl_remote_options[] = {
	{
		.longName = "port",
		.shortName = 'p',
		.argInfo = POPT_ARG_INT,
		.arg = &remote_opts.port,
		.descrip = "TCP port of the server; default 445",
		.argDescrip = "PORT",
	},
	{
		.longName = "initiator-id",
		.argInfo = POPT_ARG_STRING,
		.arg = &remote_opts.initiator_id,
		.descrip = "The SCSI initiator to be: a GUID, or \"random\", "
			   "or \"none\"; default one that belongs to this "
			   "machine",
		.argDescrip = "GUID",
	},
	{
		.longName = "initiator-host-name",
		.argInfo = POPT_ARG_STRING,
		.arg = &remote_opts.host_name,
		.descrip = "Name that the server shows for it; default this "
			   "host's",
		.argDescrip = "NAME",
	},
	{
		.longName = "protocol-version",
		.argInfo = POPT_ARG_INT,
		.arg = &remote_opts.version,
		.descrip = "Version of RSVD to open with; default 2",
		.argDescrip = "1|2",
	},
	POPT_TABLEEND
};

static bool rsvdctl_initiator(struct rsvdctl *ctl, struct librsvd_guid *guid,
			      bool *present)
{
	const char *text = remote_opts.initiator_id;

	*present = true;
	if (text == NULL) {
		if (!rsvdctl_machine_guid(0, guid)) {
			*guid = librsvd_guid_random();
		}
		return true;
	}
	if (strcmp(text, "random") == 0) {
		*guid = librsvd_guid_random();
		return true;
	}
	if (strcmp(text, "none") == 0) {
		*present = false;
		return true;
	}
	if (!librsvd_guid_parse(text, guid)) {
		rsvdctl_usage(ctl, "--initiator-id is no GUID: %s", text);
		return false;
	}
	return true;
}

/*
 * What "client max protocol", or -m, allows of what RSVD is spoken on. The
 * minimum is below that anyhow.
 */
static bool rsvdctl_dialect(struct rsvdctl *ctl, uint16_t *max_dialect)
{
	int max_protocol = lp_client_max_protocol();

	if (max_protocol < PROTOCOL_SMB3_02) {
		rsvdctl_usage(ctl, "RSVD takes SMB 3.0.2, which \"client max "
			      "protocol\" does not allow");
		return false;
	}
	*max_dialect = max_protocol < PROTOCOL_SMB3_11 ? 0x0302 : 0;
	return true;
}

/* Take //server/share/path/to/disk apart. */
static bool rsvdctl_unc_parse(struct rsvdctl *ctl, const char *unc,
			      char **server, char **share, char **path)
{
	char *copy = talloc_strdup(ctl->mem_ctx, unc);
	char *p = NULL;

	if (copy == NULL) {
		rsvdctl_error(ctl, "out of memory");
		return false;
	}
	string_replace(copy, '\\', '/');

	*server = copy + 2;
	p = strchr(*server, '/');
	if (p != NULL) {
		*p = '\0';
		*share = p + 1;
		p = strchr(*share, '/');
	}
	if (p == NULL || **server == '\0' || **share == '\0' || p[1] == '\0') {
		rsvdctl_usage(ctl, "not of the form //server/share/path: %s",
			      unc);
		return false;
	}
	*p = '\0';
	*path = p + 1;
	return true;
}

struct rsvdctl_attach *rsvdctl_remote_attach(struct rsvdctl *ctl,
					     const char *unc, bool writable)
{
	struct librsvd_connect_params connect = {
		.port = remote_opts.port,
		.credentials = samba_cmdline_get_creds(),
	};
	struct librsvd_open_params params = {
		.version = remote_opts.version,
		.host_name = remote_opts.host_name,
	};
	struct rsvdctl_attach *attach = NULL;
	char *server = NULL, *share = NULL, *path = NULL;
	struct librsvd_guid initiator_id;
	bool has_initiator_id;
	NTSTATUS status;

	if (remote_opts.port < 0 || remote_opts.port > UINT16_MAX) {
		rsvdctl_usage(ctl, "no such --port: %d", remote_opts.port);
		return NULL;
	}
	if (remote_opts.version < 0 || remote_opts.version > 2) {
		rsvdctl_usage(ctl, "no such --protocol-version: %d",
			      remote_opts.version);
		return NULL;
	}
	if (!rsvdctl_unc_parse(ctl, unc, &server, &share, &path) ||
	    !rsvdctl_initiator(ctl, &initiator_id, &has_initiator_id) ||
	    !rsvdctl_dialect(ctl, &connect.max_dialect)) {
		return NULL;
	}
	connect.server = server;
	connect.share = share;
	params.path = path;
	if (has_initiator_id) {
		params.initiator_id = &initiator_id;
	}
	params.access_mask = SEC_FILE_READ_DATA | SEC_FILE_READ_ATTRIBUTE |
			     SEC_STD_SYNCHRONIZE;
	if (writable) {
		params.access_mask |= SEC_FILE_WRITE_DATA;
	}

	attach = talloc_zero(ctl->mem_ctx, struct rsvdctl_attach);
	if (attach == NULL) {
		rsvdctl_error(ctl, "out of memory");
		return NULL;
	}
	attach->unc = unc;
	attach->ev = samba_tevent_context_init(attach);
	if (attach->ev == NULL) {
		rsvdctl_error(ctl, "out of memory");
		TALLOC_FREE(attach);
		return NULL;
	}

	status = librsvd_connect(attach, attach->ev, &connect, &attach->conn);
	if (!NT_STATUS_IS_OK(status)) {
		rsvdctl_nterror(ctl, status, "cannot connect to //%s/%s",
				server, share);
		TALLOC_FREE(attach);
		return NULL;
	}
	status = librsvd_open(attach, attach->conn, &params, &attach->disk);
	if (NT_STATUS_EQUAL(status, NT_STATUS_OBJECT_NAME_INVALID) ||
	    NT_STATUS_EQUAL(status, NT_STATUS_NOT_SUPPORTED)) {
		/* ":SharedVirtualDisk" was taken for the name of a stream. */
		rsvdctl_nterror(ctl, status, "cannot open %s: does the share "
				"serve shared virtual disks, \"vfs objects = "
				"rsvd\"?", unc);
		TALLOC_FREE(attach);
		return NULL;
	}
	if (!NT_STATUS_IS_OK(status)) {
		rsvdctl_nterror(ctl, status, "cannot open %s", unc);
		TALLOC_FREE(attach);
		return NULL;
	}
	return attach;
}

int rsvdctl_remote_error(struct rsvdctl *ctl, struct librsvd_disk *disk,
			 NTSTATUS status, const char *what, const char *unc)
{
	struct librsvd_sense sense;
	NTSTATUS sense_status;

	if (NT_STATUS_EQUAL(status, LIBRSVD_STATUS_RESERVATION_CONFLICT)) {
		rsvdctl_error(ctl, "cannot %s %s: RESERVATION CONFLICT; "
			      "\"rsvdctl reservations\" shows whose", what,
			      unc);
		return RSVDCTL_RESERVATION_CONFLICT;
	}

	sense_status = librsvd_sense_of_status(disk, status, &sense);
	if (!NT_STATUS_IS_OK(sense_status)) {
		return rsvdctl_nterror(ctl, status, "cannot %s %s", what, unc);
	}
	return rsvdctl_nterror(ctl, status, "cannot %s %s: %s, %s", what, unc,
			       librsvd_scsi_status_string(sense.scsi_status),
			       librsvd_sense_string(ctl->mem_ctx, sense.data,
						    sense.length));
}

/*
 * SCSI commands
 */

/* A disk that fences somebody's I/O is busy for as long as that takes. */
#define RSVDCTL_BUSY_RETRIES 500
#define RSVDCTL_BUSY_MSEC 20

/* Each kind is reported once; more of them is no disk. */
#define RSVDCTL_UNIT_ATTENTION_RETRIES 16

static bool rsvdctl_is_unit_attention(const struct librsvd_sense *sense)
{
	if (sense->scsi_status != 0x02 || sense->length < 3) {
		return false;
	}
	switch (sense->data[0] & 0x7F) {
	case 0x70:
		return (sense->data[2] & 0x0F) == 0x06;
	case 0x72:
		return (sense->data[1] & 0x0F) == 0x06;
	}
	return false;
}

int rsvdctl_remote_scsi(struct rsvdctl *ctl, struct rsvdctl_attach *attach,
			const char *what,
			const struct librsvd_scsi_command *command,
			struct librsvd_scsi_result *result)
{
	unsigned int num_busy = 0, num_attentions = 0;
	NTSTATUS status;

	while (true) {
		*result = (struct librsvd_scsi_result) { .data_in = NULL };
		status = librsvd_scsi(ctl->mem_ctx, attach->disk, command,
				      result);
		if (!NT_STATUS_IS_OK(status)) {
			return rsvdctl_remote_error(ctl, attach->disk, status,
						    talloc_asprintf(
							ctl->mem_ctx,
							"send %s to", what),
						    attach->unc);
		}
		if (result->sense.scsi_status == 0x08 &&
		    num_busy < RSVDCTL_BUSY_RETRIES) {
			num_busy += 1;
			smb_msleep(RSVDCTL_BUSY_MSEC);
			continue;
		}
		if (rsvdctl_is_unit_attention(&result->sense) &&
		    num_attentions < RSVDCTL_UNIT_ATTENTION_RETRIES) {
			num_attentions += 1;
			rsvdctl_error(ctl, "note: %s",
				      librsvd_sense_string(
					      ctl->mem_ctx, result->sense.data,
					      result->sense.length));
			continue;
		}
		return RSVDCTL_OK;
	}
}

int rsvdctl_scsi_check(struct rsvdctl *ctl,
		       const struct rsvdctl_attach *attach, const char *what,
		       const struct librsvd_scsi_result *result)
{
	const struct librsvd_sense *sense = &result->sense;

	switch (sense->scsi_status) {
	case 0x00:
		return RSVDCTL_OK;
	case 0x18:
		/* PERSISTENT RESERVE OUT says the same of a wrong key. */
		rsvdctl_error(ctl, "%s: %s: RESERVATION CONFLICT: another has "
			      "it reserved, or nobody has that key; \"rsvdctl "
			      "reservations\" tells", attach->unc, what);
		return RSVDCTL_RESERVATION_CONFLICT;
	case 0x02:
		rsvdctl_error(ctl, "%s: %s: CHECK CONDITION, %s", attach->unc,
			      what,
			      librsvd_sense_string(ctl->mem_ctx, sense->data,
						   sense->length));
		return RSVDCTL_SCSI_STATUS;
	}
	rsvdctl_error(ctl, "%s: %s: %s", attach->unc, what,
		      librsvd_scsi_status_string(sense->scsi_status));
	return RSVDCTL_SCSI_STATUS;
}

/*
 * Reading and writing
 */

static NTSTATUS rsvdctl_remote_read(struct rsvdctl_disk *disk, void *buf,
				    size_t length, uint64_t offset)
{
	struct rsvdctl_attach *attach = talloc_get_type_abort(
		disk->private_data, struct rsvdctl_attach);
	NTSTATUS status;
	size_t nread = 0;

	status = librsvd_read(attach->disk, buf, length, offset, &nread);
	if (NT_STATUS_IS_OK(status) && nread != length) {
		return NT_STATUS_END_OF_FILE;
	}
	return status;
}

static NTSTATUS rsvdctl_remote_write(struct rsvdctl_disk *disk,
				     const void *buf, size_t length,
				     uint64_t offset)
{
	struct rsvdctl_attach *attach = talloc_get_type_abort(
		disk->private_data, struct rsvdctl_attach);

	return librsvd_write(attach->disk, buf, length, offset, 0);
}

static NTSTATUS rsvdctl_remote_flush(struct rsvdctl_disk *disk)
{
	struct rsvdctl_attach *attach = talloc_get_type_abort(
		disk->private_data, struct rsvdctl_attach);

	return librsvd_flush(attach->disk);
}

static NTSTATUS rsvdctl_remote_close(struct rsvdctl_disk *disk)
{
	struct rsvdctl_attach *attach = talloc_get_type_abort(
		disk->private_data, struct rsvdctl_attach);

	return librsvd_close(attach->disk);
}

static int rsvdctl_remote_disk_error(struct rsvdctl_disk *disk,
				     NTSTATUS status, const char *what)
{
	struct rsvdctl_attach *attach = talloc_get_type_abort(
		disk->private_data, struct rsvdctl_attach);

	return rsvdctl_remote_error(disk->ctl, attach->disk, status, what,
				    disk->name);
}

static const struct rsvdctl_disk_ops rsvdctl_remote_ops = {
	.read = rsvdctl_remote_read,
	.write = rsvdctl_remote_write,
	.flush = rsvdctl_remote_flush,
	.close = rsvdctl_remote_close,
	.error = rsvdctl_remote_disk_error,
};

struct rsvdctl_disk *rsvdctl_remote_open(struct rsvdctl *ctl, const char *unc,
					 bool writable)
{
	struct rsvdctl_attach *attach = NULL;
	struct rsvdctl_disk *disk = NULL;
	struct librsvd_initial_info info;
	NTSTATUS status;

	attach = rsvdctl_remote_attach(ctl, unc, writable);
	if (attach == NULL) {
		return NULL;
	}
	status = librsvd_initial_info(attach->disk, &info);
	if (!NT_STATUS_IS_OK(status)) {
		rsvdctl_nterror(ctl, status, "cannot tell the size of %s",
				unc);
		return NULL;
	}

	disk = talloc_zero(ctl->mem_ctx, struct rsvdctl_disk);
	if (disk == NULL) {
		rsvdctl_error(ctl, "out of memory");
		return NULL;
	}
	*disk = (struct rsvdctl_disk) {
		.ops = &rsvdctl_remote_ops,
		.ctl = ctl,
		.name = unc,
		.size = info.virtual_size,
		.sector_size = info.sector_size,
		.private_data = attach,
	};
	return disk;
}

/*
 * What is allocated
 */

bool rsvdctl_remote_run(struct rsvdctl_disk *disk, uint64_t offset,
			uint64_t *length, bool *allocated)
{
	struct rsvdctl_attach *attach = talloc_get_type_abort(
		disk->private_data, struct rsvdctl_attach);
	/* SERVICE ACTION IN(16), GET LBA STATUS: SBC-3 5.4 */
	uint8_t cdb[16] = { 0x9E, 0x12 };
	struct librsvd_scsi_command command = {
		.cdb = cdb,
		.cdb_length = sizeof(cdb),
		/* One descriptor */
		.data_in_length = 8 + 16,
	};
	struct librsvd_scsi_result result;
	uint64_t start, run;

	*length = disk->size - offset;
	*allocated = true;

	PUSH_BE_U64(cdb, 2, offset / disk->sector_size);
	PUSH_BE_U32(cdb, 10, command.data_in_length);
	if (rsvdctl_remote_scsi(disk->ctl, attach, "GET LBA STATUS", &command,
				&result) != RSVDCTL_OK) {
		return false;
	}
	if (result.sense.scsi_status == 0x00 && result.data_in_length >= 24) {
		start = PULL_BE_U64(result.data_in, 8) * disk->sector_size;
		run = (uint64_t)PULL_BE_U32(result.data_in, 16) *
		      disk->sector_size;
		/* The run may have begun before. */
		if (start <= offset && start + run > offset) {
			*length = MIN(*length, start + run - offset);
			*allocated = (result.data_in[20] & 0x0F) == 0;
		}
	}
	TALLOC_FREE(result.data_in);
	return true;
}

/*
 * info
 */

static const char *rsvdctl_disk_type(const struct librsvd_disk_info *info)
{
	switch (info->type) {
	case LIBRSVD_DISK_FIXED:
		return "fixed";
	case LIBRSVD_DISK_DYNAMIC:
		return "dynamic";
	}
	return "unknown type";
}

static const char *rsvdctl_disk_format(const struct librsvd_disk_info *info)
{
	switch (info->format) {
	case LIBRSVD_FORMAT_VHDX:
		return "vhdx";
	case LIBRSVD_FORMAT_VHDSET:
		return "vhdset";
	}
	return "unknown format";
}

static const char *rsvdctl_handle_state(const struct librsvd_support *support)
{
	switch (support->handle_state) {
	case LIBRSVD_HANDLE_NONE:
		return "none";
	case LIBRSVD_HANDLE_FILE_SHARED:
		return "file shared";
	case LIBRSVD_HANDLE_SHARED:
		return "shared";
	}
	return "unknown";
}

int rsvdctl_remote_info(struct rsvdctl *ctl, const char *unc)
{
	struct rsvdctl_attach *attach = NULL;
	const struct librsvd_open_response *open_response = NULL;
	struct librsvd_initial_info initial;
	struct librsvd_disk_info info;
	struct librsvd_support support;
	char *initiator_id = NULL, *disk_id = NULL, *dialect = NULL;
	bool is_valid = false;
	NTSTATUS status;

	attach = rsvdctl_remote_attach(ctl, unc, false);
	if (attach == NULL) {
		return RSVDCTL_FAILED;
	}
	status = librsvd_initial_info(attach->disk, &initial);
	if (!NT_STATUS_IS_OK(status)) {
		return rsvdctl_nterror(ctl, status,
				       "%s: GET_INITIAL_INFO failed", unc);
	}
	status = librsvd_disk_info(attach->disk, &info);
	if (!NT_STATUS_IS_OK(status)) {
		return rsvdctl_nterror(ctl, status,
				       "%s: GET_DISK_INFO failed", unc);
	}
	status = librsvd_validate(attach->disk, &is_valid);
	if (!NT_STATUS_IS_OK(status)) {
		return rsvdctl_nterror(ctl, status,
				       "%s: VALIDATE_DISK failed", unc);
	}
	status = librsvd_query_support(attach->disk, &support);
	if (!NT_STATUS_IS_OK(status)) {
		return rsvdctl_nterror(ctl, status,
				       "%s: QUERY_SHARED_VIRTUAL_DISK_SUPPORT "
				       "failed", unc);
	}
	open_response = librsvd_disk_open_response(attach->disk);

	initiator_id = librsvd_guid_string(ctl->mem_ctx,
					   &open_response->initiator_id);
	disk_id = librsvd_guid_string(ctl->mem_ctx, &info.virtual_disk_id);
	dialect = talloc_asprintf(ctl->mem_ctx, "%u.%u.%u",
				  librsvd_conn_dialect(attach->conn) >> 8,
				  (librsvd_conn_dialect(attach->conn) >> 4) &
				  0xF,
				  librsvd_conn_dialect(attach->conn) & 0xF);

	/* What there was to ask has been asked: this cannot undo it. */
	librsvd_close(attach->disk);

	if (ctl->json) {
		return rsvdctl_print_json(ctl, json_pack(
			"{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:b, s:b,"
			" s:b, s:s, s:I, s:I, s:s, s:s, s:s?}",
			"disk", rsvdctl_utf8(ctl->mem_ctx, unc),
			"format", rsvdctl_disk_format(&info),
			"type", rsvdctl_disk_type(&info),
			"virtual-size", (json_int_t)initial.virtual_size,
			"file-size", (json_int_t)info.file_size,
			"block-size", (json_int_t)info.block_size,
			"sector-size", (json_int_t)initial.sector_size,
			"physical-sector-size",
			(json_int_t)initial.physical_sector_size,
			"mounted", info.is_mounted,
			"4k-aligned", info.is_4k_aligned,
			"valid", is_valid,
			"virtual-disk-id", disk_id,
			"server-version", (json_int_t)initial.server_version,
			"support", (json_int_t)support.support,
			"handle-state", rsvdctl_handle_state(&support),
			"dialect", dialect,
			"initiator-id", open_response->has_initiator_id ?
			initiator_id : NULL));
	}

	printf("disk:                 %s\n", unc);
	printf("format:               %s, %s\n", rsvdctl_disk_format(&info),
	       rsvdctl_disk_type(&info));
	printf("virtual size:         %s (%"PRIu64" bytes)\n",
	       rsvdctl_size_string(ctl->mem_ctx, initial.virtual_size),
	       initial.virtual_size);
	printf("file size:            %s (%"PRIu64" bytes)\n",
	       rsvdctl_size_string(ctl->mem_ctx, info.file_size),
	       info.file_size);
	if (info.block_size != 0) {
		printf("block size:           %s\n",
		       rsvdctl_size_string(ctl->mem_ctx, info.block_size));
	}
	printf("sector size:          %"PRIu32"\n", initial.sector_size);
	printf("physical sector size: %"PRIu32"\n",
	       initial.physical_sector_size);
	printf("mounted:              %s\n", info.is_mounted ? "yes" : "no");
	printf("4k aligned:           %s\n",
	       info.is_4k_aligned ? "yes" : "no");
	printf("valid:                %s\n", is_valid ? "yes" : "no");
	printf("virtual disk id:      %s\n", disk_id);
	printf("server version:       %"PRIu32"%s\n", initial.server_version,
	       support.support == 7 ? ", with snapshots" : "");
	printf("handle state:         %s\n", rsvdctl_handle_state(&support));
	printf("SMB dialect:          %s\n", dialect);
	if (open_response->has_initiator_id) {
		printf("initiator:            %s %s\n", initiator_id,
		       rsvdctl_printable(ctl->mem_ctx,
					 open_response->host_name));
	}
	return RSVDCTL_OK;
}
