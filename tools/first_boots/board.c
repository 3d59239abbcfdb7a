/*
 * The eFuse controller, the flash and the images of one first boot, read from stdin; what the real code does with them
 * goes to stdout: P block data (a program command), E and W and WE (flash), V data (virtual eFuses), END how, F block
 * data (what the eFuses hold in the end). Format and runs: tools/first_boots/run.py.
 */
#include <stdlib.h>
#include <sys/mman.h>

#include "board.h"
#include "esp_efuse.h"
#include "esp_efuse_table.h"
#include "esp_efuse_utility.h"
#include "esp_image_format.h"
#include "esp_secure_boot.h"
#include "soc/efuse_reg.h"

enum { WORDS = 8, BLOCKS = EFUSE_BLK_MAX, MOST_REGIONS = 400, SECTOR = 4096, BLOCK_SIZE = 1216 };

struct region { int block, bit; uint32_t mask[WORDS]; };

extern const esp_efuse_range_addr_t range_read_addr_blocks[];
uint8_t digests[3][32]; /* of the keys that signed the bootloader */
int signatures;
static uint32_t fuses[BLOCKS][WORDS];
static struct region freezes[MOST_REGIONS], hides[MOST_REGIONS];
static int freeze_count, hide_count;
static int app_ok, image_ok, image_length, primary_plain, revision, rd_dis_bit, flash_size, curve;
static uint8_t sector[SECTOR], nothing[SECTOR];

static int words_of(int block) { return (range_read_addr_blocks[block].end - range_read_addr_blocks[block].start) / 4 + 1; }

static void print_bytes(const char *what, int block, const void *data, int length)
{
    printf("%s %d ", what, block);
    for (int i = 0; i < length; i++) {
        printf("%02x", ((const uint8_t *)data)[i]);
    }
    puts("");
}

void end_boot(const char *how)
{
    printf("END %s\n", how);
    for (int block = 0; block < BLOCKS; block++) {
        print_bytes("F", block, fuses[block], 4 * words_of(block));
    }
    fflush(stdout);
    exit(0);
}

/* The controller: READ latches what is hidden, PGM burns what is not frozen. */

static void cover(const struct region *regions, int count, int block, uint32_t bits, uint32_t *mask)
{
    memset(mask, 0, 4 * WORDS);
    for (int i = 0; i < count; i++) {
        for (int word = 0; regions[i].block == block && bits >> regions[i].bit & 1 && word < WORDS; word++) {
            mask[word] |= regions[i].mask[word];
        }
    }
}

void efuse_hal_read(void)
{
    uint32_t hidden[WORDS], rd_dis = fuses[0][rd_dis_bit / 32] >> rd_dis_bit % 32;
    for (int block = 0; block < BLOCKS; block++) {
        cover(hides, hide_count, block, rd_dis, hidden);
        volatile uint32_t *registers = (volatile uint32_t *)(uintptr_t)range_read_addr_blocks[block].start;
        for (int word = 0; word < words_of(block); word++) {
            registers[word] = fuses[block][word] & ~hidden[word];
        }
    }
}

static void program(int block, const uint32_t *data)
{
    uint32_t frozen[WORDS];
    print_bytes("P", block, data, 4 * words_of(block));
    cover(freezes, freeze_count, block, fuses[0][0], frozen);
    for (int word = 0; word < words_of(block); word++) {
        fuses[block][word] |= data[word] & ~frozen[word];
    }
}

#if CONFIG_IDF_TARGET_ESP32
static const uint32_t write_registers[] = {
    EFUSE_BLK0_WDATA0_REG, EFUSE_BLK1_WDATA0_REG, EFUSE_BLK2_WDATA0_REG, EFUSE_BLK3_WDATA0_REG,
};

void efuse_hal_clear_program_registers(void)
{
    for (int block = 0; block < BLOCKS; block++) {
        memset((void *)(uintptr_t)write_registers[block], 0, 4 * words_of(block));
    }
    efuse_hal_read();
}

void efuse_hal_program(uint32_t all)
{
    uint32_t empty[WORDS] = {0};
    for (int block = BLOCKS - 1; block >= 0; block--) {
        uint32_t data[WORDS] = {0}, plain[WORDS] = {0};
        memcpy(data, (void *)(uintptr_t)write_registers[block], 4 * words_of(block));
        if (!memcmp(data, empty, sizeof empty)) {
            continue;
        }
        if (block && (fuses[0][6] & 3) == 1) { /* 3/4 coding: six of eight bytes are data */
            for (int unit = 0; unit < 4; unit++) {
                memcpy((uint8_t *)plain + 6 * unit, (uint8_t *)data + 8 * unit, 6);
            }
            memcpy(data, plain, sizeof data);
        }
        program(block, data);
    }
    efuse_hal_clear_program_registers();
}
#else
void efuse_hal_clear_program_registers(void) { memset((void *)(uintptr_t)EFUSE_PGM_DATA0_REG, 0, 44); }

void efuse_hal_program(uint32_t block)
{
    uint32_t data[WORDS];
    memcpy(data, (void *)(uintptr_t)EFUSE_PGM_DATA0_REG, sizeof data);
    program(block, data);
    efuse_hal_clear_program_registers();
    efuse_hal_read();
}
#endif

void ets_efuse_read(void) { efuse_hal_read(); }
void ets_efuse_clear_program_registers(void) { efuse_hal_clear_program_registers(); }
void efuse_hal_set_timing(uint32_t frequency) { }
void efuse_hal_rs_calculate(const void *data, void *check) { memset(check, 0, 12); }
bool efuse_hal_is_coding_error_in_block(unsigned block) { return false; }
uint32_t efuse_hal_chip_revision(void) { return revision; }
bool spi_flash_encrypt_ll_is_pseudo_rounds_function_supported(void) { return revision >= 102; }
int esp_clk_apb_freq(void) { return 80000000; }

bool efuse_hal_flash_encryption_enabled(void)
{
#if CONFIG_IDF_TARGET_ESP32
    const esp_efuse_desc_t *field = ESP_EFUSE_FLASH_CRYPT_CNT[0];
#else
    const esp_efuse_desc_t *field = ESP_EFUSE_SPI_BOOT_CRYPT_CNT[0];
#endif
    uint32_t bits = fuses[0][field->bit_start / 32] >> field->bit_start % 32;
    return __builtin_parity(bits & ((1 << field->bit_count) - 1));
}

#if CONFIG_IDF_TARGET_ESP32H2
int ecdsa_ll_is_configurable_curve_supported(void) { return revision >= 102; }

uint32_t efuse_hal_get_ecdsa_curve_mode(void)
{
    uint8_t mode = 0;
    esp_efuse_read_field_blob(ESP_EFUSE_ECDSA_CURVE_MODE, &mode, 2);
    return mode;
}
#endif

/* Images: a signature sector in which the n-th block stands for the n-th digest. */

bootloader_sha256_handle_t bootloader_sha256_start(void) { return sector; }

static int hashed;
void bootloader_sha256_data(bootloader_sha256_handle_t handle, const void *data, size_t length)
{
    hashed = ((const uint8_t *)data - sector) / BLOCK_SIZE;
}

void bootloader_sha256_finish(bootloader_sha256_handle_t handle, uint8_t *digest)
{
    if (digest) {
        memcpy(digest, digests[hashed], 32);
    }
}

esp_err_t bootloader_sha256_flash_contents(uint32_t at, uint32_t length, uint8_t *digest)
{
    memset(digest, 0, 32);
    return ESP_OK;
}

uint32_t esp_rom_crc32_le(uint32_t crc, const uint8_t *data, uint32_t length)
{
    memcpy(&crc, data + length, 4); /* always what the block says */
    return crc;
}

static uint32_t padded(void) { return (image_length + SECTOR - 1) / SECTOR * SECTOR; }

const void *bootloader_mmap(uint32_t at, uint32_t length)
{
    return at == CONFIG_BOOTLOADER_OFFSET_IN_FLASH + padded() ? sector : nothing;
}

void bootloader_munmap(const void *mapped) { }

esp_err_t esp_image_verify_bootloader_data(esp_image_metadata_t *image)
{
    if (!image_ok) {
        return ESP_ERR_IMAGE_INVALID;
    }
    image->start_addr = CONFIG_BOOTLOADER_OFFSET_IN_FLASH;
    image->image_len = image_length;
#if CONFIG_SECURE_BOOT_V2_ENABLED && CONFIG_SECURE_SIGNED_ON_BOOT
    uint8_t verified[64];
    if (esp_secure_boot_verify_sbv2_signature_block((const void *)sector, nothing, verified) != ESP_OK) {
        return ESP_ERR_IMAGE_INVALID;
    }
    image->image_len = padded() + SECTOR;
#endif
    return ESP_OK;
}

esp_err_t esp_image_verify_bootloader(uint32_t *length)
{
    esp_image_metadata_t image;
    return esp_image_verify_bootloader_data(&image);
}

int boot_go(struct boot_rsp *response)
{
    static const struct image_header header = {32};
    response->br_hdr = &header;
    response->br_image_off = CONFIG_ESP_IMAGE0_PRIMARY_START_ADDRESS;
    return app_ok ? FIH_SUCCESS : FIH_FAILURE;
}

/* Flash */

esp_err_t bootloader_flash_read(size_t at, void *into, size_t length, bool decrypted)
{
    if (at + length > flash_size) {
        return ESP_FAIL;
    }
    memset(into, 0, length);
    if (at == CONFIG_ESP_IMAGE0_PRIMARY_START_ADDRESS + 0x20 && primary_plain) {
        ((esp_image_load_header_t *)into)->header_magic = ESP_LOAD_HEADER_MAGIC;
    }
#ifdef CONFIG_EFUSE_VIRTUAL
    if (at == CONFIG_EFUSE_VIRTUAL_OFFSET) {
        memset(into, 0xff, length);
    }
#endif
    return ESP_OK;
}

esp_err_t bootloader_flash_write(size_t at, void *from, size_t length, bool encrypted)
{
#ifdef CONFIG_EFUSE_VIRTUAL
    if (at == CONFIG_EFUSE_VIRTUAL_OFFSET) {
        print_bytes("V", 0, from, length);
        return ESP_OK;
    }
    encrypted = encrypted && efuse_hal_flash_encryption_enabled(); /* ENCRYPTION_IS_VIRTUAL in bootloader_flash.c */
#endif
    printf("%s %zx %zx\n", encrypted ? "WE" : "W", at, length);
    return ESP_OK;
}

esp_err_t bootloader_flash_erase_range(uint32_t at, uint32_t length)
{
    printf("E %x %x\n", at, length);
    return ESP_OK;
}

esp_err_t bootloader_flash_erase_sector(size_t number) { return bootloader_flash_erase_range(number * SECTOR, SECTOR); }

/* The rest of the board */

int bootloader_init(void) { return ESP_OK; }
void bootloader_reset(void) { end_boot("reset"); }
void esp_rom_software_reset_system(void) { end_boot("fault"); }
void bootloader_random_disable(void) { }
void bootloader_ana_clock_glitch_reset_config(bool on) { }
void os_heap_init(void) { }
void start_cpu0_image(int image, int slot, int header) { end_boot("app"); }
void start_cpu1_image(int image, int slot, int header) { }
int esp_rom_printf(const char *format, ...) { return 0; }

void bootloader_fill_random(void *into, size_t length)
{
    static uint8_t next = 1;
    for (size_t i = 0; i < length; i++) {
        ((uint8_t *)into)[i] = next++;
    }
}

/* The scene, from stdin */

static void read_bytes(void *into)
{
    char text[128];
    unsigned byte;
    for (size_t i = scanf("%127s", text) ? 0 : 64; i < strlen(text) / 2 && sscanf(text + 2 * i, "%2x", &byte); i++) {
        ((uint8_t *)into)[i] = byte;
    }
}

static void read_region(struct region *region)
{
    scanf("%d %d", &region->block, &region->bit);
    for (int word = 0; word < WORDS; word++) {
        scanf("%x", &region->mask[word]);
    }
}

static void read_scene(void)
{
    const struct { const char *name; int *value; } numbers[] = {
        {"app_ok", &app_ok}, {"image_ok", &image_ok}, {"image_length", &image_length}, {"curve", &curve},
        {"primary_plain", &primary_plain}, {"revision", &revision}, {"rd_dis_bit", &rd_dis_bit},
        {"flash_size", &flash_size},
    };
    char key[32];
    int block;
    while (scanf("%31s", key) == 1) {
        if (!strcmp(key, "block") && scanf("%d", &block)) {
            read_bytes(fuses[block]);
        } else if (!strcmp(key, "freezes")) {
            read_region(&freezes[freeze_count++]);
        } else if (!strcmp(key, "hides")) {
            read_region(&hides[hide_count++]);
        } else if (!strcmp(key, "digest")) {
            read_bytes(digests[signatures++]);
        }
        for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
            if (!strcmp(key, numbers[i].name)) {
                scanf("%d", numbers[i].value);
            }
        }
    }
}

#undef main
int port_main(void);

int main(void)
{
    void *registers = (void *)(uintptr_t)(range_read_addr_blocks[0].start & ~0xfffu);
    if (mmap(registers, 0x2000, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != registers) {
        perror("the registers' addresses are taken");
        return 9;
    }
    read_scene();
    for (int i = 0; i < signatures; i++) {
        uint8_t *block = sector + BLOCK_SIZE * i;
        block[0] = 0xE7;
#if CONFIG_SECURE_SIGNED_APPS_ECDSA_V2_SCHEME
        block[1] = 3;
#else
        block[1] = 2;
#endif
        block[36] = curve;
    }
    efuse_hal_read();
    port_main();
    end_boot("returned");
}
