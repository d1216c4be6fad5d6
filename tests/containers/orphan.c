/* A credential_process for an image without a shell. It leaves orphans, which end
   after a moment, and which nobody but the first process can wait for. */
#include <stdio.h>
#include <unistd.h>

int main(void)
{
    if (fork() == 0) {
        setsid();
        for (int descriptor = 0; descriptor < 3; descriptor++)
            close(descriptor);
        if (fork() == 0) {
            usleep(300 * 1000);
        }
        _exit(0);
    }
    puts("{\"Version\":1,\"AccessKeyId\":\"ASIAORPHAN0000000000\",\"SecretAccessKey\":\"s\","
         "\"SessionToken\":\"t\",\"Expiration\":\"2099-01-01T00:00:00Z\"}");
    return 0;
}
