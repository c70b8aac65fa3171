/*
 * rsvdctl: make, look into and use shared virtual disks
 *
 * The subcommand comes first, options and arguments follow in any order, as
 * with qemu-img. Each subcommand has a table of options of its own; Samba's
 * common ones join it where a server is involved.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "source3/utils/rsvdctl.h"

#ifndef VFS_RSVD_VERSION
#define VFS_RSVD_VERSION "unknown"
#endif

int rsvdctl_opt_json;

static struct rsvdctl_command *const rsvdctl_commands[] = {
	&rsvdctl_create,
	&rsvdctl_convert,
	&rsvdctl_info,
	&rsvdctl_check,
	&rsvdctl_map,
	&rsvdctl_resize,
	&rsvdctl_compact,
	&rsvdctl_merge,
	&rsvdctl_flatten,
	&rsvdctl_read,
	&rsvdctl_write,
	&rsvdctl_scsi,
	&rsvdctl_reservations,
	&rsvdctl_bench,
	&rsvdctl_status,
	&rsvdctl_forget,
};

/*
 * Errors
 */

static void rsvdctl_verror(struct rsvdctl *ctl, const char *fmt, va_list ap)
{
	rsvdctl_progress_end(ctl);
	fprintf(stderr, "rsvdctl %s: ", ctl->command);
	vfprintf(stderr, fmt, ap);
}

int rsvdctl_error(struct rsvdctl *ctl, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	rsvdctl_verror(ctl, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	return RSVDCTL_FAILED;
}

int rsvdctl_nterror(struct rsvdctl *ctl, NTSTATUS status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	rsvdctl_verror(ctl, fmt, ap);
	va_end(ap);
	fprintf(stderr, ": %s\n", librsvd_status_string(ctl->mem_ctx, status));
	return RSVDCTL_FAILED;
}

int rsvdctl_usage(struct rsvdctl *ctl, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	rsvdctl_verror(ctl, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\nTry \"rsvdctl %s --help\".\n", ctl->command);
	return RSVDCTL_FAILED;
}

/*
 * Arguments
 */

bool rsvdctl_size(struct rsvdctl *ctl, const char *what, const char *text,
		  uint64_t *size)
{
	char *number = NULL;
	size_t length;

	if (text == NULL) {
		return true;
	}

	/* conv_str_size_error() knows "10G", but not "10GiB" or "10GB". */
	number = talloc_strdup(ctl->mem_ctx, text);
	if (number == NULL) {
		return false;
	}
	length = strlen(number);
	if (length > 2 && strequal(number + length - 2, "iB")) {
		number[length - 2] = '\0';
	} else if (length > 2 && (number[length - 1] == 'B' ||
				  number[length - 1] == 'b')) {
		number[length - 1] = '\0';
	}
	if (!isdigit((unsigned char)number[0]) ||
	    !conv_str_size_error(number, size)) {
		rsvdctl_usage(ctl, "%s is not a size: %s", what, text);
		return false;
	}
	return true;
}

bool rsvdctl_hex(struct rsvdctl *ctl, const char *what, const char *text,
		 DATA_BLOB *blob)
{
	char *digits = NULL;
	size_t i, num = 0;

	digits = talloc_array(ctl->mem_ctx, char, strlen(text) + 1);
	if (digits == NULL) {
		return false;
	}
	for (i = 0; text[i] != '\0'; i++) {
		if (isspace((unsigned char)text[i]) || text[i] == ':') {
			continue;
		}
		if (text[i] == '0' &&
		    (text[i + 1] == 'x' || text[i + 1] == 'X')) {
			i += 1;
			continue;
		}
		if (!isxdigit((unsigned char)text[i])) {
			rsvdctl_usage(ctl, "%s is not hex: %s", what, text);
			return false;
		}
		digits[num++] = text[i];
	}
	digits[num] = '\0';
	if (num == 0 || num % 2 != 0) {
		rsvdctl_usage(ctl, "%s has no whole number of bytes: %s",
			      what, text);
		return false;
	}
	*blob = strhex_to_data_blob(ctl->mem_ctx, digits);
	return blob->data != NULL;
}

char *rsvdctl_size_string(TALLOC_CTX *mem_ctx, uint64_t size)
{
	static const char *const units[] = {
		"bytes", "KiB", "MiB", "GiB", "TiB", "PiB",
	};
	uint64_t whole = size, rest = 0;
	size_t i = 0;

	while (whole >= 1024 && i < ARRAY_SIZE(units) - 1) {
		rest = whole % 1024;
		whole /= 1024;
		i += 1;
	}
	if (rest == 0) {
		return talloc_asprintf(mem_ctx, "%"PRIu64" %s", whole,
				       units[i]);
	}
	return talloc_asprintf(mem_ctx, "%"PRIu64".%"PRIu64" %s", whole,
			       rest * 10 / 1024, units[i]);
}

const char *rsvdctl_utf8(TALLOC_CTX *mem_ctx, const char *text)
{
	json_t *json = json_string(text);
	char *utf8 = NULL;

	if (json != NULL || text == NULL) {
		json_decref(json);
		return text;
	}
	utf8 = talloc_strdup(mem_ctx, "");
	for (; *text != '\0'; text++) {
		if ((*text & 0x80) != 0) {
			/* U+FFFD, the replacement character */
			utf8 = talloc_asprintf_append(utf8, "\xEF\xBF\xBD");
		} else {
			utf8 = talloc_asprintf_append(utf8, "%c", *text);
		}
	}
	return utf8;
}

const char *rsvdctl_printable(TALLOC_CTX *mem_ctx, const char *text)
{
	char *copy = talloc_strdup(mem_ctx, text);
	char *p = NULL;

	for (p = copy; p != NULL && *p != '\0'; p++) {
		if (iscntrl((unsigned char)*p)) {
			*p = '?';
		}
		/* U+0080 to U+009F, which some terminals obey, too */
		if ((uint8_t)p[0] == 0xC2 && (p[1] & 0xE0) == 0x80) {
			*p++ = '?';
			*p = '?';
		}
	}
	return copy;
}

int rsvdctl_print_json(struct rsvdctl *ctl, json_t *json)
{
	int ret;

	if (json == NULL) {
		return rsvdctl_error(ctl, "out of memory");
	}
	ret = json_dumpf(json, stdout, JSON_INDENT(2));
	json_decref(json);
	printf("\n");
	if (ret != 0 || fflush(stdout) != 0) {
		return rsvdctl_error(ctl, "cannot write JSON");
	}
	return RSVDCTL_OK;
}

bool rsvdctl_is_remote(const char *target)
{
	return strncmp(target, "//", 2) == 0 ||
	       strncmp(target, "\\\\", 2) == 0;
}

bool rsvdctl_is_local(struct rsvdctl *ctl, const char *target)
{
	if (!rsvdctl_is_remote(target)) {
		return true;
	}
	rsvdctl_usage(ctl, "%s is on a server: this takes a local file",
		      target);
	return false;
}

/*
 * Commands
 */

static void rsvdctl_help(FILE *f)
{
	size_t i;

	fprintf(f, "Usage: rsvdctl COMMAND [OPTIONS] ARGUMENTS\n\n"
		   "Make, look into and use shared virtual disks. TARGET is "
		   "a local image or\n//server/share/path on an RSVD server."
		   "\n\nCommands:\n");
	for (i = 0; i < ARRAY_SIZE(rsvdctl_commands); i++) {
		fprintf(f, "  %-12s %s\n", rsvdctl_commands[i]->name,
			rsvdctl_commands[i]->summary);
	}
	fprintf(f, "\n\"rsvdctl COMMAND --help\" tells the options of a "
		   "command.\n");
}

static int rsvdctl_run(struct rsvdctl *ctl, struct rsvdctl_command *command,
		       int argc, const char **argv)
{
	struct poptOption local_options[] = {
		POPT_AUTOHELP
		{
			.argInfo = POPT_ARG_INCLUDE_TABLE,
			.arg = command->options,
			.descrip = "Options:",
		},
		POPT_TABLEEND
	};
	struct poptOption remote_options[] = {
		POPT_AUTOHELP
		{
			.argInfo = POPT_ARG_INCLUDE_TABLE,
			.arg = command->options,
			.descrip = "Options:",
		},
		RSVDCTL_OPTION_REMOTE,
		POPT_COMMON_SAMBA
		POPT_COMMON_CONNECTION
		POPT_COMMON_CREDENTIALS
		POPT_LEGACY_S3
		POPT_TABLEEND
	};
	struct poptOption server_options[] = {
		POPT_AUTOHELP
		{
			.argInfo = POPT_ARG_INCLUDE_TABLE,
			.arg = command->options,
			.descrip = "Options:",
		},
		POPT_COMMON_SAMBA
		POPT_TABLEEND
	};
	char *name = NULL;
	int opt;

	name = talloc_asprintf(ctl->mem_ctx, "rsvdctl %s", command->name);
	if (name == NULL) {
		return RSVDCTL_FAILED;
	}
	ctl->command = command->name;
	argv[0] = name;		/* what popt's usage starts with */

	if (command->remote) {
		ctl->pc = samba_popt_get_context("rsvdctl", argc, argv,
						 remote_options, 0);
	} else if (command->server) {
		ctl->pc = samba_popt_get_context("rsvdctl", argc, argv,
						 server_options, 0);
	} else {
		ctl->pc = poptGetContext("rsvdctl", argc, argv, local_options,
					 0);
	}
	if (ctl->pc == NULL) {
		return rsvdctl_error(ctl, "out of memory");
	}
	poptSetOtherOptionHelp(ctl->pc,
			       talloc_asprintf(ctl->mem_ctx, "[OPTIONS] %s",
					       command->args));

	while ((opt = poptGetNextOpt(ctl->pc)) != -1) {
		if (opt < -1) {
			return rsvdctl_usage(ctl, "%s: %s",
					     poptBadOption(ctl->pc, 0),
					     poptStrerror(opt));
		}
	}
	if (command->remote) {
		samba_cmdline_burn(argc, discard_const_p(char *, argv));
	}
	ctl->json = rsvdctl_opt_json;

	return command->run(ctl);
}

int main(int argc, const char **argv)
{
	TALLOC_CTX *frame = talloc_stackframe();
	struct rsvdctl ctl = { .mem_ctx = frame };
	int ret = RSVDCTL_FAILED;
	size_t i;

	smb_init_locale();

	if (argc < 2) {
		rsvdctl_help(stderr);
		TALLOC_FREE(frame);
		return RSVDCTL_FAILED;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    strcmp(argv[1], "help") == 0) {
		rsvdctl_help(stdout);
		TALLOC_FREE(frame);
		return RSVDCTL_OK;
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		printf("rsvdctl %s, Samba %s\n", VFS_RSVD_VERSION,
		       samba_version_string());
		TALLOC_FREE(frame);
		return RSVDCTL_OK;
	}

	for (i = 0; i < ARRAY_SIZE(rsvdctl_commands); i++) {
		if (strcmp(argv[1], rsvdctl_commands[i]->name) == 0) {
			break;
		}
	}
	if (i == ARRAY_SIZE(rsvdctl_commands)) {
		fprintf(stderr, "rsvdctl: no such command: %s\n"
			"Try \"rsvdctl --help\".\n", argv[1]);
		TALLOC_FREE(frame);
		return RSVDCTL_FAILED;
	}

	if ((rsvdctl_commands[i]->remote || rsvdctl_commands[i]->server) &&
	    !samba_cmdline_init(frame, SAMBA_CMDLINE_CONFIG_CLIENT, false)) {
		fprintf(stderr, "rsvdctl: cannot set up Samba's command line "
			"library\n");
		TALLOC_FREE(frame);
		return RSVDCTL_FAILED;
	}

	ret = rsvdctl_run(&ctl, rsvdctl_commands[i], argc - 1, argv + 1);
	if (ret == RSVDCTL_OK && (fflush(stdout) != 0 || ferror(stdout))) {
		ret = rsvdctl_error(&ctl, "cannot write output: %s",
				    strerror(errno));
	}

	poptFreeContext(ctl.pc);
	TALLOC_FREE(frame);
	return ret;
}
