/*
 * rsvdctl: what the smbd processes of this machine have attached
 *
 * As smbstatus does, this looks into the databases that smbd keeps, which costs
 * it nothing. Only how much I/O there was has to be asked of each process.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "source3/utils/rsvdctl.h"
#include "source3/utils/rsvdctl_counters.h"
#include "dbwrap/dbwrap.h"
#include "dbwrap/dbwrap_open.h"
#include "lib/cmdline_contexts.h"
#include "lib/util/server_id.h"
#include "librpc/gen_ndr/ndr_vhdx_state.h"
#include "librpc/gen_ndr/open_files.h"
#include "librpc/ndr/libndr.h"
#include "locking/share_mode_lock.h"
#include "messages.h"
#include "modules/rsvd/rsvd_disk.h"
#include "modules/vhdx/vhdx.h"
#include "serverid.h"

/*
 * The databases, as vfs_rsvd_db.c opens them
 */

static bool server_alive(const struct server_id *id, void *private_data)
{
	return serverid_exists(id);
}

/* Without it no process can be told from a dead one. */
static struct messaging_context *server_messaging(struct rsvdctl *ctl)
{
	struct messaging_context *msg_ctx = NULL;

	msg_ctx = cmdline_messaging_context(get_dyn_CONFIGFILE());
	if (msg_ctx == NULL) {
		rsvdctl_error(ctl, "cannot join Samba's messaging: run this as "
			      "root");
	}
	return msg_ctx;
}

/*
 * This boot of the machine, as vfs_rsvd_db.c has it: what another boot has
 * left is kept only as far as APTPL goes.
 */
static bool server_boot_id(struct rsvdctl *ctl, struct GUID *guid)
{
	size_t length = 0;
	char *line = NULL;

	line = file_load("/proc/sys/kernel/random/boot_id", &length, 0,
			 ctl->mem_ctx);
	if (line == NULL) {
		return false;
	}
	trim_string(line, NULL, "\n");
	return NT_STATUS_IS_OK(GUID_from_string(line, guid));
}

/*
 * @param[out] db  NULL when there is none: no disk was ever attached
 */
static int server_db_open(struct rsvdctl *ctl, int open_flags,
			  struct db_context **db)
{
	char *path = lock_path(ctl->mem_ctx, "rsvd.tdb");

	*db = NULL;
	if (path == NULL) {
		return rsvdctl_error(ctl, "out of memory");
	}
	*db = db_open(ctl->mem_ctx, path, 0,
		      TDB_CLEAR_IF_FIRST | TDB_INCOMPATIBLE_HASH | TDB_SEQNUM,
		      open_flags, 0600, DBWRAP_LOCK_ORDER_3, DBWRAP_FLAG_NONE);
	if (*db == NULL && errno != ENOENT) {
		return rsvdctl_error(ctl, "cannot open %s: %s", path,
				     strerror(errno));
	}
	return RSVDCTL_OK;
}

/*
 * status
 */

static struct {
	int watch;
	int interval;
} status_opts = {
	.interval = 2,
};

static struct poptOption status_options[] = {
	{
		.longName = "watch",
		.shortName = 'w',
		.argInfo = POPT_ARG_NONE,
		.arg = &status_opts.watch,
		.descrip = "Show it again and again, until interrupted",
	},
	{
		.longName = "interval",
		.shortName = 'n',
		.argInfo = POPT_ARG_INT,
		.arg = &status_opts.interval,
		.descrip = "Seconds between; default 2",
		.argDescrip = "SECONDS",
	},
	RSVDCTL_OPTION_JSON,
	POPT_TABLEEND
};

struct status_disk {
	struct file_id id;
	char *path;		/* NULL: smbd has no name for it */
	struct rsvd_disk_record *record;
	struct vhdx_state *map;	/* NULL: the engine has no record */
};

struct status_state {
	struct db_context *db;
	struct messaging_context *msg_ctx;
	struct status_disk *disks;
	size_t num_disks;
	struct rsvdctl_counters *counters;
	bool failed;
};

static int status_found(struct db_record *rec, void *private_data)
{
	struct status_state *state = private_data;
	TDB_DATA key = dbwrap_record_get_key(rec);
	struct status_disk *disks = NULL;

	if (key.dsize != RSVD_DISK_KEY_SIZE || key.dptr[24] != 'D') {
		return 0;
	}
	disks = talloc_realloc(state, state->disks, struct status_disk,
			       state->num_disks + 1);
	if (disks == NULL) {
		state->failed = true;
		return -1;
	}
	disks[state->num_disks] = (struct status_disk) {
		/* rsvd_disk_key() */
		.id = {
			.devid = BVAL(key.dptr, 0),
			.inode = BVAL(key.dptr, 8),
			.extid = BVAL(key.dptr, 16),
		},
	};
	state->disks = disks;
	state->num_disks += 1;
	return 0;
}

static int status_name(struct file_id id, const struct share_mode_data *data,
		       void *private_data)
{
	struct status_state *state = private_data;
	size_t i;

	for (i = 0; i < state->num_disks; i++) {
		struct status_disk *disk = &state->disks[i];

		if (disk->path == NULL && file_id_equal(&id, &disk->id)) {
			disk->path = talloc_asprintf(state->disks, "%s/%s",
						     data->servicepath,
						     data->base_name);
		}
	}
	return 0;
}

static void status_parse_map(TDB_DATA key, TDB_DATA value, void *private_data)
{
	struct status_disk *disk = private_data;
	DATA_BLOB blob = data_blob_const(value.dptr, value.dsize);
	enum ndr_err_code err;

	disk->map = talloc_zero(disk->record, struct vhdx_state);
	if (disk->map == NULL) {
		return;
	}
	err = ndr_pull_struct_blob(&blob, disk->map, disk->map,
				   (ndr_pull_flags_fn_t)ndr_pull_vhdx_state);
	if (!NDR_ERR_CODE_IS_SUCCESS(err) ||
	    disk->map->version != VHDX_STATE_VERSION) {
		TALLOC_FREE(disk->map);
	}
}

/* All that is known of one disk; false when nobody uses it any more. */
static bool status_fill(struct status_state *state, struct status_disk *disk)
{
	uint8_t key[RSVD_DISK_KEY_SIZE];
	struct rsvd_disk *shared = NULL;
	NTSTATUS status;

	shared = rsvd_disk_init(state, state->db, &disk->id,
				messaging_server_id(state->msg_ctx),
				server_alive, NULL);
	if (shared == NULL) {
		return false;
	}
	status = rsvd_disk_get(shared, state, &disk->record);
	TALLOC_FREE(shared);
	if (!NT_STATUS_IS_OK(status) || disk->record->num_opens == 0) {
		return false;
	}
	dbwrap_parse_record(state->db, rsvd_disk_key(&disk->id, 'M', key),
			    status_parse_map, disk);
	return true;
}

/* Before any is shown, so that all of them are asked at the same time. */
static void status_ask(struct status_state *state)
{
	size_t i;
	uint32_t j;

	state->counters = rsvdctl_counters_init(state, state->msg_ctx);
	if (state->counters == NULL) {
		state->failed = true;
		return;
	}
	for (i = 0; i < state->num_disks; i++) {
		const struct rsvd_disk_record *record =
			state->disks[i].record;

		for (j = 0; record != NULL && j < record->num_opens; j++) {
			if (!rsvdctl_counters_add(
				    state->counters,
				    &record->opens[j].server_id)) {
				state->failed = true;
				return;
			}
		}
	}
	rsvdctl_counters_ask(state->counters);
}

static const char *status_path(TALLOC_CTX *mem_ctx,
			       const struct status_disk *disk)
{
	struct file_id_buf buf;

	if (disk->path != NULL) {
		return rsvdctl_printable(mem_ctx, disk->path);
	}
	return talloc_asprintf(mem_ctx, "file %s",
			       file_id_str_buf(disk->id, &buf));
}

/* SPC-4 6.15.3.3; scsi_pr.idl */
static const char *status_pr_type(enum scsi_pr_type type)
{
	switch (type) {
	case SCSI_PR_NONE:
		return NULL;
	case SCSI_PR_WRITE_EXCLUSIVE:
		return "write-exclusive";
	case SCSI_PR_EXCLUSIVE_ACCESS:
		return "exclusive-access";
	case SCSI_PR_WRITE_EXCLUSIVE_REGISTRANTS_ONLY:
		return "write-exclusive-registrants-only";
	case SCSI_PR_EXCLUSIVE_ACCESS_REGISTRANTS_ONLY:
		return "exclusive-access-registrants-only";
	case SCSI_PR_WRITE_EXCLUSIVE_ALL_REGISTRANTS:
		return "write-exclusive-all-registrants";
	case SCSI_PR_EXCLUSIVE_ACCESS_ALL_REGISTRANTS:
		return "exclusive-access-all-registrants";
	}
	return "unknown";
}

static bool status_pr_is_holder(const struct scsi_state *scsi,
				const struct scsi_nexus_state *nexus)
{
	switch (scsi->pr_type) {
	case SCSI_PR_NONE:
		return false;
	case SCSI_PR_WRITE_EXCLUSIVE_ALL_REGISTRANTS:
	case SCSI_PR_EXCLUSIVE_ACCESS_ALL_REGISTRANTS:
		return nexus->key != 0;
	default:
		return GUID_equal(&scsi->pr_holder, &nexus->initiator_id);
	}
}

static const char *status_log(const struct vhdx_state *map)
{
	switch (map->log_step) {
	case VHDX_LOG_NONE:
		return "empty";
	case VHDX_LOG_WRITTEN:
	case VHDX_LOG_NAMED:
		return "starting";
	case VHDX_LOG_READY:
		return "active";
	}
	return "unknown";
}

static unsigned int status_num_writers(const struct vhdx_state *map)
{
	unsigned int num = 0;
	uint32_t i;

	for (i = 0; i < map->num_users; i++) {
		if (map->users[i].writes) {
			num += 1;
		}
	}
	return num;
}

static const char *status_access(const struct rsvd_disk_open *open)
{
	if (open->raw) {
		return "file";
	}
	return (open->access_mask & SEC_FILE_WRITE_DATA) ? "rw" : "ro";
}

/* "ipv4:192.0.2.1:49152" is how tsocket writes it; the host is of interest. */
static char *status_address(TALLOC_CTX *mem_ctx, const char *address)
{
	const char *start = address;
	const char *end = NULL;

	if (strncmp(start, "ipv4:", 5) == 0 ||
	    strncmp(start, "ipv6:", 5) == 0) {
		start += 5;
		end = strrchr(start, ':');
	}
	return end != NULL ? talloc_strndup(mem_ctx, start, end - start) :
	       talloc_strdup(mem_ctx, start);
}

static char *status_time(TALLOC_CTX *mem_ctx, NTTIME nttime,
			 const char *format)
{
	time_t t = nt_time_to_unix(nttime);
	bool utc = strchr(format, 'T') != NULL;
	struct tm tm;
	char buf[32];

	if ((utc ? gmtime_r(&t, &tm) : localtime_r(&t, &tm)) == NULL ||
	    strftime(buf, sizeof(buf), format, &tm) == 0) {
		return talloc_strdup(mem_ctx, "");
	}
	return talloc_strdup(mem_ctx, buf);
}

/*
 * JSON
 */

static json_t *status_io_json(const struct rsvd_io_counters *io)
{
	if (io == NULL) {
		return json_null();
	}
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}",
			 "reads", (json_int_t)io->reads,
			 "read-bytes", (json_int_t)io->read_bytes,
			 "writes", (json_int_t)io->writes,
			 "written-bytes", (json_int_t)io->written_bytes,
			 "flushes", (json_int_t)io->flushes,
			 "tunnel-requests", (json_int_t)io->tunnel_requests);
}

static json_t *status_open_json(TALLOC_CTX *mem_ctx,
				const struct rsvd_disk_open *open,
				const struct rsvd_io_counters *io)
{
	struct GUID_txt_buf guid;
	struct server_id_buf pid;
	bool has_initiator = !GUID_all_zero(&open->initiator_id);

	return json_pack(
		"{s:s, s:s?, s:s, s:s, s:s, s:s, s:I, s:s, s:o}",
		"process", server_id_str_buf(open->server_id, &pid),
		"initiator-id", has_initiator ?
		GUID_buf_string(&open->initiator_id, &guid) : NULL,
		"host-name", rsvdctl_utf8(mem_ctx, open->host_name),
		"client-address", status_address(mem_ctx, open->client_address),
		"user", rsvdctl_utf8(mem_ctx, open->user_name),
		"access", status_access(open),
		"protocol-version", (json_int_t)open->protocol_version,
		"since", status_time(mem_ctx, open->open_time,
				     "%Y-%m-%dT%H:%M:%SZ"),
		"io", status_io_json(io));
}

static json_t *status_scsi_json(TALLOC_CTX *mem_ctx,
				const struct scsi_state *scsi)
{
	json_t *registrants = json_array();
	json_t *reservation = json_null();
	struct GUID_txt_buf guid;
	uint32_t i;

	for (i = 0; i < scsi->num_nexuses; i++) {
		const struct scsi_nexus_state *n = &scsi->nexuses[i];

		if (n->key == 0) {
			continue;
		}
		json_array_append_new(registrants, json_pack(
			"{s:s, s:s, s:s?, s:b, s:b}",
			"key", talloc_asprintf(mem_ctx, "0x%016"PRIx64,
					       n->key),
			"initiator-id",
			GUID_buf_string(&n->initiator_id, &guid),
			"host-name", rsvdctl_utf8(mem_ctx, n->host_name),
			"holder", status_pr_is_holder(scsi, n),
			"attached", n->num_opens > 0));
	}
	if (scsi->pr_type != SCSI_PR_NONE) {
		reservation = json_string(status_pr_type(scsi->pr_type));
	} else if (scsi->reserved) {
		reservation = json_string("spc-2");
	}
	return json_pack("{s:I, s:b, s:o, s:o}",
			 "generation", (json_int_t)scsi->pr_generation,
			 "persistent", scsi->aptpl,
			 "reservation", reservation,
			 "registrants", registrants);
}

static const struct rsvd_io_counters *status_io(
	struct status_state *state, const struct status_disk *disk,
	const struct rsvd_disk_open *open)
{
	return rsvdctl_counters_get(state->counters, &open->server_id,
				    &disk->id, open->open_id);
}

static json_t *status_disk_json(struct status_state *state,
				const struct status_disk *disk)
{
	const struct rsvd_disk_record *record = disk->record;
	json_t *opens = json_array();
	json_t *image = json_null();
	struct GUID_txt_buf guid;
	uint32_t i;

	for (i = 0; i < record->num_opens; i++) {
		const struct rsvd_disk_open *o = &record->opens[i];

		json_array_append_new(opens, status_open_json(
					      state, o,
					      status_io(state, disk, o)));
	}
	if (disk->map != NULL) {
		image = json_pack(
			"{s:i, s:s, s:I, s:I, s:I, s:I, s:I}",
			"writers", status_num_writers(disk->map),
			"log", status_log(disk->map),
			"log-entries", (json_int_t)disk->map->log_sequence,
			"map-generation",
			(json_int_t)disk->map->map_generation,
			"allocated-this-session",
			(json_int_t)(disk->map->next_free -
				     disk->map->first_free),
			"next-free", (json_int_t)disk->map->next_free,
			"reserved-end", (json_int_t)disk->map->stable_end);
	}
	return json_pack("{s:s?, s:I, s:I, s:s, s:o, s:o, s:o}",
			 "path", rsvdctl_utf8(state, disk->path),
			 "device", (json_int_t)disk->id.devid,
			 "inode", (json_int_t)disk->id.inode,
			 "virtual-disk-id",
			 GUID_buf_string(&record->disk_id, &guid),
			 "opens", opens,
			 "reservations", record->scsi != NULL ?
			 status_scsi_json(state, record->scsi) :
			 json_null(),
			 "image", image);
}

/*
 * Text
 */

static void status_print_scsi(TALLOC_CTX *mem_ctx,
			      const struct scsi_state *scsi)
{
	const char *type = status_pr_type(scsi->pr_type);
	struct GUID_txt_buf guid;
	bool none = true;
	uint32_t i;

	printf("  reservation: %s%s\n", type != NULL ? type :
	       scsi->reserved ? "SPC-2, of " : "none",
	       type == NULL && scsi->reserved ?
	       GUID_buf_string(&scsi->reserve_holder, &guid) : "");
	for (i = 0; i < scsi->num_nexuses; i++) {
		const struct scsi_nexus_state *n = &scsi->nexuses[i];

		if (n->key == 0) {
			continue;
		}
		if (none) {
			printf("  %-18s %-36s %s\n", "KEY", "REGISTRANT",
			       "HOST");
			none = false;
		}
		printf("  0x%016"PRIx64" %s %s%s%s\n", n->key,
		       GUID_buf_string(&n->initiator_id, &guid),
		       n->host_name != NULL ?
		       rsvdctl_printable(mem_ctx, n->host_name) : "",
		       status_pr_is_holder(scsi, n) ? ", holder" : "",
		       n->num_opens == 0 ? ", not attached" : "");
	}
}

static void status_print_io(TALLOC_CTX *mem_ctx,
			    const struct rsvd_io_counters *io)
{
	if (io == NULL) {
		printf("    its process does not tell how much I/O\n");
		return;
	}
	printf("    %"PRIu64" reads of %s, %"PRIu64" writes of %s, "
	       "%"PRIu64" flushes, %"PRIu64" tunnel requests\n", io->reads,
	       rsvdctl_size_string(mem_ctx, io->read_bytes), io->writes,
	       rsvdctl_size_string(mem_ctx, io->written_bytes), io->flushes,
	       io->tunnel_requests);
}

static void status_print_disk(struct status_state *state,
			      const struct status_disk *disk)
{
	const struct rsvd_disk_record *record = disk->record;
	struct GUID_txt_buf guid;
	struct server_id_buf pid;
	uint32_t i;

	printf("%s\n", status_path(state, disk));
	printf("  %-36s %-15s %-15s %-10s %-8s %-4s %s\n", "INITIATOR",
	       "HOST", "ADDRESS", "USER", "PID", "MODE", "SINCE");
	for (i = 0; i < record->num_opens; i++) {
		const struct rsvd_disk_open *o = &record->opens[i];

		printf("  %-36s %-15s %-15s %-10s %-8s %-4s %s\n",
		       GUID_all_zero(&o->initiator_id) ? "-" :
		       GUID_buf_string(&o->initiator_id, &guid),
		       rsvdctl_printable(state, o->host_name),
		       status_address(state, o->client_address),
		       rsvdctl_printable(state, o->user_name),
		       server_id_str_buf(o->server_id, &pid),
		       status_access(o),
		       status_time(state, o->open_time,
				   "%Y-%m-%d %H:%M:%S"));
		status_print_io(state, status_io(state, disk, o));
	}
	if (record->scsi != NULL) {
		status_print_scsi(state, record->scsi);
	}
	if (disk->map != NULL) {
		printf("  image: writers %u, log %s, %s allocated since the "
		       "first of them\n", status_num_writers(disk->map),
		       status_log(disk->map),
		       rsvdctl_size_string(state, disk->map->next_free -
					   disk->map->first_free));
	}
	printf("\n");
}

static int status_once(struct rsvdctl *ctl, struct db_context *db,
		       struct messaging_context *msg_ctx)
{
	struct status_state *state = NULL;
	json_t *array = json_array();
	size_t i, num_shown = 0;
	int ret = RSVDCTL_OK;

	state = talloc_zero(ctl->mem_ctx, struct status_state);
	if (state == NULL) {
		return rsvdctl_error(ctl, "out of memory");
	}
	state->db = db;
	state->msg_ctx = msg_ctx;

	if (db != NULL) {
		dbwrap_traverse_read(db, status_found, state, NULL);
	}
	/* The names of the files; where they can't be had there are numbers. */
	if (state->num_disks > 0 && locking_init_readonly()) {
		share_mode_forall(status_name, state);
	}
	for (i = 0; i < state->num_disks; i++) {
		if (!status_fill(state, &state->disks[i])) {
			TALLOC_FREE(state->disks[i].record);
		}
	}
	status_ask(state);
	if (state->failed) {
		return rsvdctl_error(ctl, "out of memory");
	}

	for (i = 0; i < state->num_disks; i++) {
		struct status_disk *disk = &state->disks[i];

		if (disk->record == NULL) {
			continue;
		}
		num_shown += 1;
		if (ctl->json) {
			json_array_append_new(array,
					      status_disk_json(state, disk));
		} else {
			status_print_disk(state, disk);
		}
	}

	if (ctl->json) {
		ret = rsvdctl_print_json(ctl, json_pack("{s:o}", "disks",
							array));
	} else {
		json_decref(array);
		if (num_shown == 0) {
			printf("No disk is attached.\n");
		}
		if (fflush(stdout) != 0) {
			ret = rsvdctl_error(ctl, "cannot write: %s",
					    strerror(errno));
		}
	}
	TALLOC_FREE(state);
	return ret;
}

static int rsvdctl_status_run(struct rsvdctl *ctl)
{
	struct messaging_context *msg_ctx = NULL;
	struct db_context *db = NULL;
	int ret;

	if (poptPeekArg(ctl->pc) != NULL) {
		return rsvdctl_usage(ctl, "status takes no arguments");
	}
	if (status_opts.interval < 1) {
		return rsvdctl_usage(ctl, "--interval is at least 1");
	}
	msg_ctx = server_messaging(ctl);
	if (msg_ctx == NULL) {
		return RSVDCTL_FAILED;
	}
	while (true) {
		if (db == NULL) {
			ret = server_db_open(ctl, O_RDONLY, &db);
			if (ret != RSVDCTL_OK) {
				return ret;
			}
		}
		if (status_opts.watch && isatty(STDOUT_FILENO)) {
			/* Clear the screen, go to its top. */
			printf("\033[H\033[2J");
		}
		ret = status_once(ctl, db, msg_ctx);
		if (ret != RSVDCTL_OK || !status_opts.watch) {
			return ret;
		}
		smb_msleep(status_opts.interval * 1000);
	}
}

struct rsvdctl_command rsvdctl_status = {
	.name = "status",
	.args = "",
	.summary = "on the server: tell who has which disk attached",
	.options = status_options,
	.server = true,
	.run = rsvdctl_status_run,
};

/*
 * forget
 *
 * The initiator that will not come back cannot take its registration with it,
 * so we do it in its name: PERSISTENT RESERVE OUT, REGISTER AND IGNORE
 * EXISTING KEY with a key of zero, executed here. Everything that has to
 * happen to a reservation it holds happens as ever.
 */

static struct poptOption forget_options[] = {
	POPT_TABLEEND
};

struct forget_state {
	struct rsvd_disk *disk;
	struct GUID initiator_id;
	NTSTATUS status;
};

static const struct scsi_state *forget_scsi_state(void *private_data)
{
	struct forget_state *state = private_data;

	return rsvd_disk_scsi_state(state->disk, NULL);
}

static NTSTATUS forget_scsi_update(void *private_data, scsi_state_fn fn,
				   void *fn_data)
{
	struct forget_state *state = private_data;

	state->status = rsvd_disk_scsi_update(state->disk, fn, fn_data);
	return state->status;
}

static const struct scsi_disk_ops forget_scsi_ops = {
	.state = forget_scsi_state,
	.update_state = forget_scsi_update,
};

/* Whether it is registered, and has not the disk open. */
static NTSTATUS forget_check(struct scsi_state *scsi, bool *changed,
			     void *private_data)
{
	struct forget_state *state = private_data;
	uint32_t i;

	for (i = 0; i < scsi->num_nexuses; i++) {
		const struct scsi_nexus_state *n = &scsi->nexuses[i];

		if (!GUID_equal(&n->initiator_id, &state->initiator_id)) {
			continue;
		}
		if (n->num_opens > 0) {
			return NT_STATUS_CONNECTION_ACTIVE;
		}
		if (n->key != 0) {
			return NT_STATUS_OK;
		}
	}
	return NT_STATUS_NOT_FOUND;
}

static int forget_execute(struct rsvdctl *ctl, struct forget_state *state,
			  const struct vhdx_geometry *geometry)
{
	/* SPC-4 6.16; the parameter list of 24 zeros has no key in it */
	const uint8_t cdb[10] = { 0x5F, 0x06, [8] = 24 };
	const uint8_t list[24] = { 0 };
	struct scsi_disk scsi_disk = {
		.size = geometry->virtual_size,
		.logical_sector_size = geometry->logical_sector_size,
		.physical_sector_size = geometry->physical_sector_size,
		.virtual_disk_id = geometry->virtual_disk_id,
		.ops = &forget_scsi_ops,
		.private_data = state,
	};
	struct scsi_nexus nexus = {
		.initiator_id = state->initiator_id,
		.host_name = "",
		.may_write = true,
	};
	unsigned int attempts;

	/* What unit attentions it is owed are reported, too. */
	for (attempts = 0; attempts < 16; attempts++) {
		struct scsi_task task = {
			.cdb = cdb,
			.cdb_length = sizeof(cdb),
			.data_out = list,
			.data_out_length = sizeof(list),
		};

		scsi_execute(&scsi_disk, &nexus, &task);
		if (task.status == SCSI_STATUS_GOOD) {
			return RSVDCTL_OK;
		}
		if (task.status != SCSI_STATUS_CHECK_CONDITION) {
			break;
		}
	}
	return rsvdctl_nterror(ctl, state->status,
			       "cannot remove the registration");
}

static int forget_registration(struct rsvdctl *ctl,
			       struct forget_state *state,
			       const struct vhdx_geometry *geometry)
{
	struct GUID_txt_buf buf;
	const char *guid = GUID_buf_string(&state->initiator_id, &buf);
	NTSTATUS status;

	status = rsvd_disk_scsi_update(state->disk, forget_check, state);
	if (NT_STATUS_EQUAL(status, NT_STATUS_NOT_FOUND)) {
		return rsvdctl_error(ctl, "%s is not registered", guid);
	}
	if (NT_STATUS_EQUAL(status, NT_STATUS_CONNECTION_ACTIVE)) {
		return rsvdctl_error(ctl, "%s is alive and has the disk "
				     "attached: fence it with \"rsvdctl "
				     "reservations ... preempt\"", guid);
	}
	if (!NT_STATUS_IS_OK(status)) {
		return rsvdctl_nterror(ctl, status, "cannot read the "
				       "registrations");
	}
	return forget_execute(ctl, state, geometry);
}

static int rsvdctl_forget_run(struct rsvdctl *ctl)
{
	const char *image_path = poptGetArg(ctl->pc);
	const char *text = poptGetArg(ctl->pc);
	struct messaging_context *msg_ctx = NULL;
	struct db_context *db = NULL, *reservations = NULL;
	const struct vhdx_geometry *geometry = NULL;
	struct vhdx *image = NULL;
	struct forget_state state = { .status = NT_STATUS_OK };
	struct file_id id = { .devid = 0 };
	struct rsvd_disk_open self = {
		.host_name = "rsvdctl forget",
		.client_address = "",
		.user_name = "",
	};
	struct GUID boot_id;
	struct stat st;
	char *path = NULL;
	NTSTATUS status;
	int ret;

	if (image_path == NULL || text == NULL ||
	    poptPeekArg(ctl->pc) != NULL) {
		return rsvdctl_usage(ctl, "name one image and the GUID of an "
				     "initiator; \"status\" tells both, and "
				     "\"reservations\" who is registered with "
				     "a disk that nobody has attached");
	}
	status = GUID_from_string(text, &state.initiator_id);
	if (!NT_STATUS_IS_OK(status)) {
		return rsvdctl_usage(ctl, "not a GUID: %s", text);
	}
	msg_ctx = server_messaging(ctl);
	if (msg_ctx == NULL) {
		return RSVDCTL_FAILED;
	}
	image = rsvdctl_local_vhdx(ctl, image_path);
	if (image == NULL) {
		return RSVDCTL_FAILED;
	}
	geometry = vhdx_geometry(image);
	if (stat(image_path, &st) != 0) {
		return rsvdctl_error(ctl, "cannot look at %s: %s", image_path,
				     strerror(errno));
	}
	id.devid = st.st_dev;
	id.inode = st.st_ino;

	ret = server_db_open(ctl, O_RDWR | O_CREAT, &db);
	if (ret != RSVDCTL_OK) {
		return ret;
	}
	path = state_path(ctl->mem_ctx, "rsvd_reservations.tdb");
	reservations = db_open(ctl->mem_ctx, path, 0, TDB_DEFAULT,
			       O_RDWR | O_CREAT, 0600, DBWRAP_LOCK_ORDER_4,
			       DBWRAP_FLAG_NONE);
	if (db == NULL || reservations == NULL) {
		return rsvdctl_error(ctl, "cannot open %s: %s", path,
				     strerror(errno));
	}

	state.disk = rsvd_disk_init(ctl->mem_ctx, db, &id,
				    messaging_server_id(msg_ctx),
				    server_alive, NULL);
	if (state.disk == NULL) {
		return rsvdctl_error(ctl, "out of memory");
	}
	rsvd_disk_set_persistent(state.disk, reservations,
				 &geometry->virtual_disk_id,
				 server_boot_id(ctl, &boot_id) ?
				 &boot_id : NULL);

	/* As one who uses the disk, but is no initiator. */
	status = rsvd_disk_add_open(state.disk, &self);
	if (!NT_STATUS_IS_OK(status)) {
		return rsvdctl_nterror(ctl, status, "cannot use %s",
				       image_path);
	}
	ret = forget_registration(ctl, &state, geometry);
	rsvd_disk_remove_open(state.disk, self.open_id);
	return ret;
}

struct rsvdctl_command rsvdctl_forget = {
	.name = "forget",
	.args = "FILE INITIATOR",
	.summary = "on the server: remove the registration of a dead initiator",
	.options = forget_options,
	.server = true,
	.run = rsvdctl_forget_run,
};
