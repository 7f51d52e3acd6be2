from metatrain.cli import main

main()
