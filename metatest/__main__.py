from metatest.cli import main

main()
