/* A PKCS #11 module that passes every call on to the one in SHIM_MODULE, but for the fault that the file SHIM_FAULT
 * names. It writes the names of some calls into the file SHIM_CALLS.
 *
 * Faults that happen once (the file is removed): hang, hang-login, crash, crash-generated, removed, wrong, zero, short,
 * empty, print. ended: sessions are invalid until C_Finalize, which removes the file. idle: the same whenever nothing
 * was called for a second. Others last until the file is removed; stall keeps each signature waiting until then.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef unsigned long ulong_t;
typedef ulong_t (*call_t)(void *, void *, void *, void *, void *, void *);

/* CK_FUNCTION_LIST (PKCS #11 v2.40, section 3.6): a version, and 68 functions. */
struct functions {
    unsigned char version[2];
    void *call[68];
};
enum { INITIALIZE = 0, FINALIZE = 1, GET_FUNCTION_LIST = 3, GET_TOKEN_INFO = 6, OPEN_SESSION = 12, LOGIN = 18,
       GENERATE_PAIR = 59, FIND_INIT = 26, SIGN_INIT = 42, SIGN = 43 };
enum { OK = 0, GENERAL_ERROR = 0x5, CANT_LOCK = 0xA, DEVICE_REMOVED = 0x32, SESSION_HANDLE_INVALID = 0xB3 };
enum { FINAL_TRY = 0x00020000, PIN_LOCKED = 0x00040000 };

static struct functions *real, ours;

static int fault(const char *name, int once) {
    char text[64] = "";
    const char *path = getenv("SHIM_FAULT");
    int file = open(path, O_RDONLY);
    if (file < 0) return 0;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    if (length < 0 || strcmp(text, name) != 0) return 0;
    if (once) unlink(path);
    return 1;
}

static void called(const char *name) {
    int file = open(getenv("SHIM_CALLS"), O_WRONLY | O_CREAT | O_APPEND, 0600);
    dprintf(file, "%s\n", name);
    close(file);
}

static _Atomic time_t used;
static _Atomic int ended_idle;

static ulong_t ended(void) {
    time_t now = time(NULL), before = used;
    used = now;
    if (before != 0 && now - before > 1 && fault("idle", 0)) ended_idle = 1;
    return ended_idle || fault("ended", 0) ? SESSION_HANDLE_INVALID : OK;
}

#define CALL(number) ((call_t)real->call[number])

static ulong_t initialize(void *arguments) {
    called("initialize");
    if (arguments != NULL && fault("cant-lock", 0)) return CANT_LOCK;
    return CALL(INITIALIZE)(arguments, 0, 0, 0, 0, 0);
}

static ulong_t finalize(void *reserved) {
    called("finalize");
    fault("ended", 1);
    ended_idle = 0;
    return CALL(FINALIZE)(reserved, 0, 0, 0, 0, 0);
}

static ulong_t token_info(void *slot, unsigned char *info) {
    ulong_t result = CALL(GET_TOKEN_INFO)(slot, info, 0, 0, 0, 0);
    ulong_t *flags = (ulong_t *)(info + 96); /* behind label, manufacturer, model and serial number */
    if (result == OK && fault("final-try", 0)) *flags |= FINAL_TRY;
    if (result == OK && fault("locked", 0)) *flags |= PIN_LOCKED;
    return result;
}

static ulong_t open_session(void *slot, void *flags, void *data, void *notify, void *session) {
    return ended() != OK ? SESSION_HANDLE_INVALID : CALL(OPEN_SESSION)(slot, flags, data, notify, session, 0);
}

static ulong_t login(void *session, void *user, void *pin, void *length) {
    called("login");
    if (fault("hang-login", 1)) sleep(3600);
    return ended() != OK ? SESSION_HANDLE_INVALID : CALL(LOGIN)(session, user, pin, length, 0, 0);
}

static ulong_t find_init(void *session, void *template, void *count) {
    return ended() != OK ? SESSION_HANDLE_INVALID : CALL(FIND_INIT)(session, template, count, 0, 0, 0);
}

static ulong_t generate_pair(void *session, void *mechanism, void *public, ulong_t publics, void *private,
                             ulong_t privates, void *public_key, void *private_key) {
    ulong_t (*generate)(void *, void *, void *, ulong_t, void *, ulong_t, void *, void *) = real->call[GENERATE_PAIR];
    ulong_t result = generate(session, mechanism, public, publics, private, privates, public_key, private_key);
    called("generate");
    if (fault("crash-generated", 1)) _exit(9);
    return result;
}

static ulong_t sign_init(void *session, void *mechanism, void *key) {
    if (fault("removed", 1)) return DEVICE_REMOVED;
    return ended() != OK ? SESSION_HANDLE_INVALID : CALL(SIGN_INIT)(session, mechanism, key, 0, 0, 0);
}

static ulong_t sign(void *session, void *data, void *length, unsigned char *signature, ulong_t *signature_length) {
    ulong_t result = CALL(SIGN)(session, data, length, signature, signature_length, 0);
    /* Without room for a signature this asks for its length. */
    if (signature == NULL || result != OK) return result;
    if (fault("hang", 1)) sleep(3600);
    while (fault("stall", 0)) usleep(10000);
    if (fault("crash", 1)) abort();
    if (fault("print", 1)) { printf("the module has something to say\n"); fflush(stdout); }
    if (fault("general-error", 0)) return GENERAL_ERROR;
    if (fault("wrong", 1)) signature[*signature_length - 1] ^= 1;
    if (fault("zero", 1)) memset(signature, 0, *signature_length);
    if (fault("short", 1)) *signature_length -= 1;
    if (fault("empty", 1)) *signature_length = 0;
    return result;
}

ulong_t C_GetFunctionList(struct functions **list) {
    if (real == NULL) {
        void *module = dlopen(getenv("SHIM_MODULE"), RTLD_NOW);
        ulong_t (*get)(struct functions **) = module ? dlsym(module, "C_GetFunctionList") : NULL;
        if (get == NULL || get(&real) != OK) return GENERAL_ERROR;
        ours = *real;
        ours.call[INITIALIZE] = initialize;
        ours.call[FINALIZE] = finalize;
        ours.call[GET_FUNCTION_LIST] = C_GetFunctionList;
        ours.call[GET_TOKEN_INFO] = token_info;
        ours.call[OPEN_SESSION] = open_session;
        ours.call[LOGIN] = login;
        ours.call[FIND_INIT] = find_init;
        ours.call[GENERATE_PAIR] = generate_pair;
        ours.call[SIGN_INIT] = sign_init;
        ours.call[SIGN] = sign;
    }
    *list = &ours;
    return OK;
}
