/*
 * rsvdctl: any SCSI command
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "source3/utils/rsvdctl.h"
#include "lib/util/sys_rw_data.h"

static struct {
	const char *data_out;
	const char *data_out_file;
	const char *data_in_length;
	const char *output;
	int read_only;
} scsi_opts;

static struct poptOption scsi_options[] = {
	{
		.longName = "data-out",
		.argInfo = POPT_ARG_STRING,
		.arg = &scsi_opts.data_out,
		.descrip = "Data to send, in hex",
		.argDescrip = "HEX",
	},
	{
		.longName = "data-out-file",
		.argInfo = POPT_ARG_STRING,
		.arg = &scsi_opts.data_out_file,
		.descrip = "File with the data to send",
		.argDescrip = "FILE",
	},
	{
		.longName = "data-in-length",
		.argInfo = POPT_ARG_STRING,
		.arg = &scsi_opts.data_in_length,
		.descrip = "Room for the data to get",
		.argDescrip = "SIZE",
	},
	{
		.longName = "output",
		.shortName = 'o',
		.argInfo = POPT_ARG_STRING,
		.arg = &scsi_opts.output,
		.descrip = "File for the data to get; default a dump of it",
		.argDescrip = "FILE",
	},
	{
		.longName = "read-only",
		.argInfo = POPT_ARG_NONE,
		.arg = &scsi_opts.read_only,
		.descrip = "Open without write access",
	},
	RSVDCTL_OPTION_JSON,
	POPT_TABLEEND
};

static bool rsvdctl_scsi_data_out(struct rsvdctl *ctl, DATA_BLOB *data)
{
	*data = data_blob_null;

	if (scsi_opts.data_out != NULL) {
		return rsvdctl_hex(ctl, "--data-out", scsi_opts.data_out,
				   data);
	}
	if (scsi_opts.data_out_file != NULL) {
		data->data = (uint8_t *)file_load(scsi_opts.data_out_file,
						  &data->length, 0,
						  ctl->mem_ctx);
		if (data->data == NULL) {
			rsvdctl_error(ctl, "cannot read %s: %s",
				      scsi_opts.data_out_file,
				      strerror(errno));
			return false;
		}
	}
	return true;
}

/* Not file_save(): that refuses a file that is there. */
static int rsvdctl_scsi_save(struct rsvdctl *ctl,
			     const struct librsvd_scsi_result *result)
{
	bool ok;
	int fd;

	fd = open(scsi_opts.output, O_WRONLY | O_CREAT | O_TRUNC, 0666);
	if (fd == -1) {
		return rsvdctl_error(ctl, "cannot open %s: %s",
				     scsi_opts.output, strerror(errno));
	}
	ok = write_data(fd, result->data_in, result->data_in_length) ==
	     (ssize_t)result->data_in_length;
	ok = (close(fd) == 0) && ok;
	if (!ok) {
		return rsvdctl_error(ctl, "cannot write %s: %s",
				     scsi_opts.output, strerror(errno));
	}
	return RSVDCTL_OK;
}

/* As hexdump -C prints it. */
static void rsvdctl_dump(const uint8_t *data, size_t length)
{
	size_t i, j;

	for (i = 0; i < length; i += 16) {
		printf("  %08zx ", i);
		for (j = i; j < i + 16; j++) {
			if (j < length) {
				printf(" %02x", data[j]);
			} else {
				printf("   ");
			}
		}
		printf("  |");
		for (j = i; j < MIN(i + 16, length); j++) {
			printf("%c", isprint(data[j]) ? data[j] : '.');
		}
		printf("|\n");
	}
}

static int rsvdctl_scsi_print(struct rsvdctl *ctl,
			      const struct librsvd_scsi_result *result)
{
	const struct librsvd_sense *sense = &result->sense;
	const char *status = librsvd_scsi_status_string(sense->scsi_status);
	char *text = NULL, *sense_hex = NULL, *data_hex = NULL;

	if (sense->scsi_status == 0x02) {
		text = librsvd_sense_string(ctl->mem_ctx, sense->data,
					    sense->length);
		sense_hex = hex_encode_talloc(ctl->mem_ctx, sense->data,
					      sense->length);
	}

	if (ctl->json) {
		if (scsi_opts.output == NULL && result->data_in_length > 0) {
			data_hex = hex_encode_talloc(ctl->mem_ctx,
						     result->data_in,
						     result->data_in_length);
		}
		return rsvdctl_print_json(ctl, json_pack(
			"{s:i, s:s, s:i, s:s?, s:s?, s:I, s:s?}",
			"status", sense->scsi_status,
			"status-name", status,
			"srb-status", sense->srb_status,
			"sense", text,
			"sense-data", sense_hex,
			"data-in-length", (json_int_t)result->data_in_length,
			"data-in", data_hex));
	}

	printf("status: %s (0x%02x), SRB status 0x%02x\n", status,
	       sense->scsi_status, sense->srb_status);
	if (text != NULL) {
		printf("sense:  %s\n", text);
		rsvdctl_dump(sense->data, sense->length);
	}
	if (result->data_in_length > 0 && scsi_opts.output == NULL) {
		printf("data:   %"PRIu32" bytes\n", result->data_in_length);
		rsvdctl_dump(result->data_in, result->data_in_length);
	}
	return RSVDCTL_OK;
}

static int rsvdctl_scsi_run(struct rsvdctl *ctl)
{
	const char *target = poptGetArg(ctl->pc);
	struct librsvd_scsi_command command = { .cdb = NULL };
	struct librsvd_scsi_result result = { .data_in = NULL };
	struct rsvdctl_attach *attach = NULL;
	DATA_BLOB cdb = { .length = 0 }, data_out = { .length = 0 };
	uint64_t data_in_length = 0;
	char *text = NULL;
	const char *arg = NULL;
	NTSTATUS status;
	int ret;

	/* The CDB may come as one word or as many. */
	text = talloc_strdup(ctl->mem_ctx, "");
	while ((arg = poptGetArg(ctl->pc)) != NULL) {
		text = talloc_asprintf_append(text, "%s ", arg);
	}
	if (target == NULL || text == NULL || text[0] == '\0') {
		return rsvdctl_usage(ctl, "name a disk and a CDB");
	}
	if (!rsvdctl_is_remote(target)) {
		return rsvdctl_usage(ctl, "not of the form "
				     "//server/share/path: %s", target);
	}
	if (!rsvdctl_hex(ctl, "the CDB", text, &cdb) ||
	    !rsvdctl_size(ctl, "--data-in-length", scsi_opts.data_in_length,
			  &data_in_length) ||
	    !rsvdctl_scsi_data_out(ctl, &data_out)) {
		return RSVDCTL_FAILED;
	}
	if (cdb.length > LIBRSVD_MAX_CDB) {
		return rsvdctl_usage(ctl, "the CDB has more than %d bytes",
				     LIBRSVD_MAX_CDB);
	}
	if (data_out.length > 0 && data_in_length > 0) {
		return rsvdctl_usage(ctl, "data goes one way, out or in");
	}
	if (data_in_length > UINT32_MAX || data_out.length > UINT32_MAX) {
		return rsvdctl_usage(ctl, "that is too much data");
	}

	attach = rsvdctl_remote_attach(ctl, target, !scsi_opts.read_only);
	if (attach == NULL) {
		return RSVDCTL_FAILED;
	}
	command = (struct librsvd_scsi_command) {
		.cdb = cdb.data,
		.cdb_length = cdb.length,
		.data_out = data_out.data,
		.data_out_length = data_out.length,
		.data_in_length = data_in_length,
	};
	status = librsvd_scsi(ctl->mem_ctx, attach->disk, &command, &result);
	if (!NT_STATUS_IS_OK(status)) {
		return rsvdctl_remote_error(ctl, attach->disk, status,
					    "send a SCSI command to", target);
	}

	librsvd_close(attach->disk);

	if (scsi_opts.output != NULL) {
		ret = rsvdctl_scsi_save(ctl, &result);
		if (ret != RSVDCTL_OK) {
			return ret;
		}
	}
	ret = rsvdctl_scsi_print(ctl, &result);

	if (ret != RSVDCTL_OK || result.sense.scsi_status == 0x00) {
		return ret;
	}
	return result.sense.scsi_status == 0x18 ?
	       RSVDCTL_RESERVATION_CONFLICT : RSVDCTL_SCSI_STATUS;
}

struct rsvdctl_command rsvdctl_scsi = {
	.name = "scsi",
	.args = "TARGET CDB",
	.summary = "send a SCSI command, its CDB in hex",
	.options = scsi_options,
	.remote = true,
	.run = rsvdctl_scsi_run,
};
